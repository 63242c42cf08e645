/* Copyright spike-compressor contributors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A board with a Verilated core on it: its registers, and either a DMA engine on each stream or, for a core with a streamer,
 * memory. Time passes while registers are accessed. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum board_stream { BOARD_MEMBRANES, BOARD_WEIGHTS, BOARD_SUMS, BOARD_STREAMS };

/* Reset the board; every `pause`th beat or so of a stream waits (0: none). */
void board_reset(unsigned pause);

uint32_t board_read(void *context, uint32_t offset);
void board_write(void *context, uint32_t offset, uint32_t value);
int board_interrupt(void);

/* ------------------------------------------------------------------------------------------- with DMA engines */

/* Queue memory behind what its engine still has to do: send it, with TLAST at the end of each packet, or fill it. `user` has
 * TUSER of each packet, or is null. */
void board_send(enum board_stream stream, const uint8_t *data, size_t bytes, size_t packet, const uint8_t *user);
void board_receive(uint8_t *data, size_t bytes);

/* Bytes that an engine has yet to move. */
size_t board_left(enum board_stream stream);

/* Forget them. */
void board_stop(enum board_stream stream);

/* ------------------------------------------------------------------------------------------------- with memory */

/* The board's memory, and where the core sees it; beyond it there is nothing (DECERR). */
#define BOARD_MEMORY_BYTES ((size_t)1 << 22)
#define BOARD_MEMORY_BASE ((uint64_t)0x80000000u)
uint8_t *board_memory(void);

#ifdef __cplusplus
}
#endif

#endif
