// Copyright spike-compressor contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What a device at the ports of the core does in a cycle. Ports are copied as bytes, so any width will do (on a little-endian
// host).
#ifndef DEVICE_H
#define DEVICE_H

#include "Vcore.h"

// Nothing is on offer.
void device_reset(Vcore *core);

// Set the core's inputs, before the edge.
void device_offer(Vcore *core);

// The core has seen them: what is taken with the edge?
void device_sample(Vcore *core);

// The edge is over.
void device_edge(Vcore *core);

// From the board: noise, and whether something waits in this cycle.
unsigned device_random();
bool device_pauses();

#endif
