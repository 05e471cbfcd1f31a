/* How gRPC writes things in HTTP/2 fields. */
#ifndef WAYPOST_H2_WIRE_H
#define WAYPOST_H2_WIRE_H

#include "h2.h"

/* Microseconds of a grpc-timeout (`100m`, at most eight digits), rounded up; -1: it is none. */
int64_t h2_parse_timeout(h2_slice text);
/* Whether a content type is gRPC's: application/grpc, alone or with +proto, or parameters. */
int h2_is_grpc(h2_slice content_type);
/* Whether a name is that of a field whose value is binary. */
int h2_is_binary(h2_slice name);
/* Whether a name is that of a field by which an answer says what it is, or which HTTP/2 does not have: nobody else says
 * it. */
int h2_is_reserved(h2_slice name);
/* Appends a grpc-message, percent-encoded. */
void h2_percent_encode(h2_buffer *out, h2_slice text);
/* Appends bytes in base64 without padding. */
void h2_base64_encode(h2_buffer *out, h2_slice bytes);
/* Appends what base64, padded or not, stands for. 0 if it is none; then nothing is appended. */
int h2_base64_decode(h2_buffer *out, h2_slice text);
/* Whether these are the bytes of a text in UTF-8. */
int h2_is_utf8(h2_slice text);

#endif
