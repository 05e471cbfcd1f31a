#include "wire.h"

#include <string.h>

int64_t h2_parse_timeout(h2_slice text) {
  if (text.length < 2 || text.length > 9) return -1;
  int64_t number = 0;
  for (size_t i = 0; i + 1 < text.length; i++) {
    if (text.data[i] < '0' || text.data[i] > '9') return -1;
    number = number * 10 + (text.data[i] - '0');
  }
  switch (text.data[text.length - 1]) {
    case 'H': return number * 3600 * 1000000;
    case 'M': return number * 60 * 1000000;
    case 'S': return number * 1000000;
    case 'm': return number * 1000;
    case 'u': return number;
    case 'n': return (number + 999) / 1000;
    default: return -1;
  }
}

int h2_is_grpc(h2_slice content_type) {
  static const char plain[] = "application/grpc";
  size_t length = sizeof plain - 1;
  if (content_type.length < length || memcmp(content_type.data, plain, length) != 0) return 0;
  return content_type.length == length || content_type.data[length] == '+' || content_type.data[length] == ';';
}

int h2_is_binary(h2_slice name) {
  return name.length > 4 && memcmp(name.data + name.length - 4, "-bin", 4) == 0;
}

int h2_is_reserved(h2_slice name) {
  enum { LONGEST = 17, MOST = 3 };
  static const char *const by_length[LONGEST + 1][MOST] = {
      [2] = {"te"},
      [7] = {"upgrade"},
      [10] = {"connection", "keep-alive"},
      [11] = {"grpc-status"},
      [12] = {"grpc-message", "grpc-timeout", "content-type"},
      [13] = {"grpc-encoding"},
      [14] = {"content-length"},
      [16] = {"proxy-connection"},
      [17] = {"transfer-encoding"},
  };
  if (name.length > LONGEST) return 0;
  const char *const *names = by_length[name.length];
  for (int i = 0; i < MOST && names[i] != NULL; i++) {
    if (memcmp(name.data, names[i], name.length) == 0) return 1;
  }
  return 0;
}

void h2_percent_encode(h2_buffer *out, h2_slice text) {
  static const char digits[] = "0123456789ABCDEF";
  for (size_t i = 0; i < text.length; i++) {
    uint8_t byte = text.data[i];
    /* RFC 9113, 8.2.1: no value has space around it. */
    int inside = byte != ' ' || (i > 0 && i + 1 < text.length);
    if (byte >= ' ' && byte <= '~' && byte != '%' && inside) {
      h2_buffer_add(out, &byte, 1);
    } else {
      char code[3] = {'%', digits[byte >> 4], digits[byte & 15]};
      h2_buffer_add(out, code, 3);
    }
  }
}

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void h2_base64_encode(h2_buffer *out, h2_slice bytes) {
  for (size_t i = 0; i < bytes.length; i += 3) {
    size_t left = bytes.length - i;
    uint32_t word = (uint32_t)bytes.data[i] << 16;
    if (left > 1) word |= (uint32_t)bytes.data[i + 1] << 8;
    if (left > 2) word |= bytes.data[i + 2];
    char code[4] = {base64[word >> 18], base64[word >> 12 & 63], base64[word >> 6 & 63], base64[word & 63]};
    h2_buffer_add(out, code, left > 2 ? 4 : left + 1);
  }
}

static int sextet(uint8_t letter) {
  if (letter >= 'A' && letter <= 'Z') return letter - 'A';
  if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
  if (letter >= '0' && letter <= '9') return letter - '0' + 52;
  if (letter == '+') return 62;
  if (letter == '/') return 63;
  return -1;
}

int h2_base64_decode(h2_buffer *out, h2_slice text) {
  size_t length = text.length, before = out->length;
  while (length > 0 && text.length - length < 2 && text.data[length - 1] == '=') length--;
  if (length % 4 == 1 || (length != text.length && text.length % 4 != 0)) return 0;
  uint32_t word = 0;
  for (size_t i = 0; i < length; i++) {
    int value = sextet(text.data[i]);
    if (value < 0) {
      out->length = before;
      return 0;
    }
    word = word << 6 | (uint32_t)value;
    if (i % 4 != 0) {
      uint8_t byte = (uint8_t)(word >> (6 - 2 * (i % 4)));
      h2_buffer_add(out, &byte, 1);
    }
  }
  return 1;
}

int h2_is_utf8(h2_slice text) {
  size_t i = 0;
  while (i < text.length) {
    uint8_t lead = text.data[i++];
    if (lead < 0x80) continue;
    size_t more = lead >= 0xC2 && lead < 0xE0 ? 1 : (lead & 0xF0) == 0xE0 ? 2 : lead >= 0xF0 && lead < 0xF5 ? 3 : 0;
    if (more == 0 || text.length - i < more) return 0;
    /* The first byte after the lead also shuts out overlong forms, surrogates, and what is beyond U+10FFFF. */
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (size_t k = 0; k < more; k++, low = 0x80, high = 0xBF) {
      if (text.data[i + k] < low || text.data[i + k] > high) return 0;
    }
    i += more;
  }
  return 1;
}
