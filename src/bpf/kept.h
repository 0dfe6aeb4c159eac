/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Records that wait to be written. An iterator can write 32 KiB for one object: enough for a file,
 * and not for a process. scan_tasks keeps its records here, report_kept writes them.
 */
#ifndef SOCKLEAK_KEPT_H
#define SOCKLEAK_KEPT_H

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
} kept SEC(".maps");

/* The piece that is being filled. */
static __u32 filling;

/* Keeps a record, whose size is a constant and a multiple of 8. False: there is no room. */
static __always_inline bool keep(void *record, __u64 size)
{
	struct piece *piece = bpf_map_lookup_elem(&kept, &filling);
	__u64 length;

	if (piece && piece->length > PIECE_MAX - size) {
		filling++;
		piece = bpf_map_lookup_elem(&kept, &filling);
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

/* Writes what was kept, and makes room. */
SEC("iter/bpf_map_elem")
int report_kept(struct bpf_iter__bpf_map_elem *ctx)
{
	struct piece *piece;
	__u64 length;
	__u32 key;

	if (!ctx->key) {
		filling = 0;
		return 0;
	}
	key = *(const __u32 *)ctx->key;
	piece = bpf_map_lookup_elem(&kept, &key);
	if (!piece)
		return 0;
	length = piece->length;
	barrier_var(length);
	/* Where the iterator's buffer is full, it shows this piece again. */
	if (length <= PIECE_MAX && !bpf_seq_write(ctx->meta->seq, piece->records, length))
		piece->length = 0;
	return 0;
}

#endif
