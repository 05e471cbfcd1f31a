/* What begins a field in protobuf's wire format: its number, and whether a varint or bytes with their length follow. */
#ifndef WAYPOST_RLS_PROTOBUF_H
#define WAYPOST_RLS_PROTOBUF_H

#define VARINT(field) ((field) << 3)
#define BYTES(field) ((field) << 3 | 2)

#endif
