/* Bytes that grow, and packed fields. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int h2_buffer_reserve(h2_buffer *buffer, size_t bytes) {
  if (buffer->failed) return 0;
  if (bytes <= buffer->capacity) return 1;
  size_t capacity = buffer->capacity ? buffer->capacity : 256;
  while (capacity < bytes && capacity <= SIZE_MAX / 2) capacity *= 2;
  uint8_t *larger = capacity < bytes ? NULL : realloc(buffer->data, capacity);
  if (larger == NULL) {
    buffer->failed = 1;
    return 0;
  }
  buffer->data = larger;
  buffer->capacity = capacity;
  return 1;
}

void h2_buffer_add(h2_buffer *buffer, const void *data, size_t length) {
  if (buffer->failed || length == 0) return;
  if (length > SIZE_MAX - buffer->length) {
    buffer->failed = 1;
    return;
  }
  if (!h2_buffer_reserve(buffer, buffer->length + length)) return;
  memcpy(buffer->data + buffer->length, data, length);
  buffer->length += length;
}

void h2_buffer_free(h2_buffer *buffer) {
  free(buffer->data);
  memset(buffer, 0, sizeof *buffer);
}

void h2_fields_add(h2_buffer *fields, h2_slice name, h2_slice value) {
  uint32_t lengths[2] = {(uint32_t)name.length, (uint32_t)value.length};
  size_t before = fields->length;
  h2_buffer_add(fields, lengths, sizeof lengths);
  h2_buffer_add(fields, name.data, name.length);
  h2_buffer_add(fields, value.data, value.length);
  if (fields->failed) fields->length = before;
}

int h2_fields_next(h2_slice fields, size_t *position, h2_slice *name, h2_slice *value) {
  uint32_t lengths[2];
  if (fields.length - *position < sizeof lengths) return 0;
  memcpy(lengths, fields.data + *position, sizeof lengths);
  size_t start = *position + sizeof lengths;
  if (lengths[0] > fields.length - start || lengths[1] > fields.length - start - lengths[0]) return 0;
  *name = (h2_slice){fields.data + start, lengths[0]};
  *value = (h2_slice){fields.data + start + lengths[0], lengths[1]};
  *position = start + lengths[0] + lengths[1];
  return 1;
}

h2_slice h2_fields_find(h2_slice fields, const char *name) {
  size_t length = strlen(name), position = 0;
  h2_slice found, value;
  while (h2_fields_next(fields, &position, &found, &value)) {
    if (found.length == length && memcmp(found.data, name, length) == 0) return value;
  }
  return (h2_slice){NULL, 0};
}
