/* Any bytes as timeouts, base64, percent-encoded text, UTF-8 and packed fields, each against a plain second opinion. */
#include "h2/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(claim) ((claim) ? (void)0 : (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim), abort()))

static int same(h2_slice one, h2_slice other) {
  return one.length == other.length && (one.length == 0 || memcmp(one.data, other.data, one.length) == 0);
}

static h2_slice whole(const h2_buffer *buffer) { return (h2_slice){buffer->data, buffer->length}; }

static void timeouts(h2_slice text) {
  static const struct {
    char unit;
    int64_t ns;
  } units[] = {{'H', 3600000000000}, {'M', 60000000000}, {'S', 1000000000}, {'m', 1000000}, {'u', 1000}, {'n', 1}};
  int64_t us = h2_parse_timeout(text);
  char digits[10] = {0};
  int is_one = text.length >= 2 && text.length <= 9;
  for (size_t i = 0; is_one && i + 1 < text.length; i++) {
    is_one = text.data[i] >= '0' && text.data[i] <= '9';
    digits[i] = (char)text.data[i];
  }
  int64_t expected = -1;
  for (size_t i = 0; is_one && i < sizeof units / sizeof *units; i++) {
    if (units[i].unit != text.data[text.length - 1]) continue;
    /* Rounded up; no unit but the last has a rest, and none needs more than 64 bits in microseconds. */
    int64_t number = strtoll(digits, NULL, 10), ns = units[i].ns;
    expected = ns < 1000 ? (number * ns + 999) / 1000 : number * (ns / 1000);
  }
  CHECK(us == expected);
}

static void base64(h2_slice bytes) {
  static const char pad[] = "==";
  h2_buffer text = {0}, back = {0};
  h2_base64_encode(&text, bytes);
  CHECK(text.length == (bytes.length * 4 + 2) / 3);
  CHECK(h2_base64_decode(&back, whole(&text)) && same(whole(&back), bytes));
  back.length = 0;
  h2_buffer_add(&text, pad, (4 - text.length % 4) % 4);
  CHECK(h2_base64_decode(&back, whole(&text)) && same(whole(&back), bytes));
  /* What is no base64 leaves what was there as it was; what is, is told by its length. */
  size_t before = back.length;
  if (h2_base64_decode(&back, bytes)) {
    CHECK(back.length - before <= bytes.length * 3 / 4 && back.length - before + 3 > bytes.length / 4 * 3);
  } else {
    CHECK(back.length == before);
  }
  CHECK(before == 0 || memcmp(back.data, bytes.data, before) == 0);
  h2_buffer_free(&text);
  h2_buffer_free(&back);
}

static int hexadecimal(uint8_t letter) {
  CHECK((letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'F'));
  return letter <= '9' ? letter - '0' : letter - 'A' + 10;
}

static void percent(h2_slice text) {
  h2_buffer out = {0};
  h2_percent_encode(&out, text);
  size_t at = 0;
  for (size_t i = 0; i < text.length; i++) {
    CHECK(at < out.length && out.data[at] >= ' ' && out.data[at] <= '~');
    if (out.data[at] == '%') {
      CHECK(out.length - at >= 3);
      CHECK(hexadecimal(out.data[at + 1]) * 16 + hexadecimal(out.data[at + 2]) == text.data[i]);
      at += 3;
    } else {
      CHECK(out.data[at++] == text.data[i]);
    }
  }
  CHECK(at == out.length);
  h2_buffer_free(&out);
}

/* By the definition: what a code point is written with, and whether it is one that may be. */
static int plainly_utf8(h2_slice text) {
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  for (size_t i = 0; i < text.length;) {
    uint8_t lead = text.data[i++];
    size_t more = lead < 0x80 ? 0 : lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : 4;
    if (more == 4 || text.length - i < more) return 0;
    uint32_t point = more == 0 ? lead : lead & (0x3fU >> more);
    for (size_t k = 0; k < more; k++) {
      if (text.data[i] >> 6 != 2) return 0;
      point = point << 6 | (text.data[i++] & 0x3fU);
    }
    if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return 0;
  }
  return 1;
}

static int plainly_reserved(h2_slice name) {
  static const char *const names[] = {"te",           "upgrade",      "connection",   "keep-alive",
                                      "grpc-status",  "grpc-message", "grpc-timeout", "content-type",
                                      "grpc-encoding", "content-length", "proxy-connection", "transfer-encoding"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (same(name, (h2_slice){(const uint8_t *)names[i], strlen(names[i])})) return 1;
  }
  return 0;
}

/* Pairs cut from the input come back as they were put in; the input itself, read as packed, stays within itself. */
static void fields(h2_slice bytes) {
  h2_buffer packed = {0};
  size_t position = 0, count = 0, found = 0;
  h2_slice name, value;
  for (size_t at = 0; at + 2 <= bytes.length; count++) {
    size_t most = bytes.length - at - 2, first = bytes.data[at] < most ? bytes.data[at] : most;
    size_t second = bytes.data[at + 1] < most - first ? bytes.data[at + 1] : most - first;
    h2_fields_add(&packed, (h2_slice){bytes.data + at + 2, first}, (h2_slice){bytes.data + at + 2 + first, second});
    at += 2 + first + second;
  }
  for (size_t at = 0; h2_fields_next(whole(&packed), &position, &name, &value); found++) {
    CHECK(same(name, (h2_slice){bytes.data + at + 2, name.length}));
    CHECK(same(value, (h2_slice){bytes.data + at + 2 + name.length, value.length}));
    at += 2 + name.length + value.length;
  }
  CHECK(found == count && position == packed.length);
  h2_slice te = h2_fields_find(whole(&packed), "te");
  CHECK(te.data == NULL || (te.data >= packed.data && te.data + te.length <= packed.data + packed.length));
  h2_buffer_free(&packed);
  for (position = 0; h2_fields_next(bytes, &position, &name, &value);) {
    CHECK(position <= bytes.length && value.data + value.length == bytes.data + position);
    CHECK(name.data > bytes.data && name.data + name.length == value.data);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  h2_slice bytes = {data, size};
  timeouts(bytes);
  base64(bytes);
  percent(bytes);
  CHECK(h2_is_utf8(bytes) == plainly_utf8(bytes));
  CHECK(h2_is_reserved(bytes) == plainly_reserved(bytes));
  fields(bytes);
  char *text = strndup((const char *)data, size);
  CHECK(text != NULL);
  int grpc = strncmp(text, "application/grpc", 16) == 0 && (text[16] == '\0' || strchr("+;", text[16]) != NULL);
  if (strlen(text) == size) CHECK(h2_is_grpc(bytes) == grpc);
  CHECK(h2_is_binary(bytes) == (size > 4 && memcmp(data + size - 4, "-bin", 4) == 0));
  free(text);
  return 0;
}
