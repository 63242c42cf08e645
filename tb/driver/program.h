/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the programs for the board share. */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define POLLS 10000000u

static inline void require(int holds, const char *what) {
  if (!holds) {
    fprintf(stderr, "%s\n", what);
    exit(1);
  }
}

static inline void *load(const char *path, size_t bytes) {
  void *data = malloc(bytes);
  FILE *file = fopen(path, "rb");

  require(data != NULL && file != NULL && fread(data, 1, bytes, file) == bytes, path);
  fclose(file);
  return data;
}

/* Write `count` numbers. */
static inline void store(const char *path, const int32_t *values, size_t count) {
  FILE *file = fopen(path, "wb");

  require(file != NULL && fwrite(values, 4, count, file) == count && fclose(file) == 0, path);
}

#endif
