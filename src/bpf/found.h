/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Records that wait to be told. What an iterator writes for one object has to fit into 32 KiB:
 * enough for a file, and not for a process. scan_tasks leaves its records here, scan_found tells
 * them.
 */
#ifndef SOCKLEAK_FOUND_H
#define SOCKLEAK_FOUND_H

#include "read.h"

#define PIECES 32
#define PIECE_MAX 32000

struct piece {
	__u64 length;
	__u8 records[PIECE_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PIECES);
	__type(key, __u32);
	__type(value, struct piece);
} found SEC(".maps");

/* The piece that is being filled. */
static __u32 filling;

/* Takes a record whose size is a constant, and a multiple of 8, if there is room. */
static __always_inline bool keep(void *record, __u64 size)
{
	struct piece *piece = bpf_map_lookup_elem(&found, &filling);
	__u64 length;

	if (piece && piece->length > PIECE_MAX - size) {
		filling++;
		piece = bpf_map_lookup_elem(&found, &filling);
	}
	if (!piece)
		return false;
	length = piece->length;
	barrier_var(length); /* or clang checks one register, and uses another */
	if (length > PIECE_MAX - size)
		return false;
	__builtin_memcpy(__builtin_assume_aligned(piece->records + length, 8),
			 __builtin_assume_aligned(record, 8), size);
	piece->length = length + size;
	return true;
}

/* Tells what has been found, and makes room. */
SEC("iter/bpf_map_elem")
int scan_found(struct bpf_iter__bpf_map_elem *ctx)
{
	struct piece *piece;
	__u64 length;
	__u32 key;

	if (!ctx->key) {
		filling = 0;
		return 0;
	}
	key = *(const __u32 *)ctx->key;
	piece = bpf_map_lookup_elem(&found, &key);
	if (!piece)
		return 0;
	length = piece->length;
	barrier_var(length);
	/* Where there is no room, this piece is shown again. */
	if (length <= PIECE_MAX && !bpf_seq_write(ctx->meta->seq, piece->records, length))
		piece->length = 0;
	return 0;
}

#endif
