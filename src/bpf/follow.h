/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The records of the programs that follow a command. As sockleak.h, this is the one contract between
 * both sides.
 */
#ifndef SOCKLEAK_FOLLOW_H
#define SOCKLEAK_FOLLOW_H

#include "sockleak.h"

#define ARGS_LEN 512

enum follow_kind {
	/* From the ring buffer. */
	FOLLOW_PROGRAM = 1, /* struct program_record: a process has executed a program */
	FOLLOW_EXIT = 2,    /* struct gone_record: a process that has closed dead sockets exits */
	FOLLOW_CLOSED = 3,  /* struct dead_record: a dead socket was closed */
	/* From the iterators. */
	FOLLOW_HELD = 4,     /* struct dead_record: a process holds a dead socket */
	FOLLOW_QUEUED = 5,   /* struct dead_record: a dead socket waits in an accept queue */
	FOLLOW_LISTENER = 6, /* struct dead_record: a process has a listener whose queue is not empty */
};

struct program_record {
	__u32 kind;
	__u32 tgid; /* in the PID namespace of the reader */
	__u64 program; /* its number: when it was executed */
	__u64 before;  /* the number of the program that the process ran before */
	__u32 args_len;
	__u32 pad;
	__u8 comm[COMM_LEN];
	__u8 args[ARGS_LEN]; /* each ends with a zero byte; cut where there are more */
};

struct gone_record {
	__u32 kind;
	__u32 tgid;
	__u64 start_time; /* ns, CLOCK_MONOTONIC: with tgid, it names a process for good */
	__u64 ktime;
	__u64 waited; /* how long its leader has waited for a CPU; 0: not known */
};

enum dead_flag {
	DEAD_EXITING = 1 << 0, /* its last holder closed it by exiting */
	DEAD_UNACCEPTED = 1 << 1, /* it was in an accept queue when it died, and its listener was closed */
};

struct dead_record {
	__u32 kind;
	__u32 tgid; /* the process that closed it, or holds it */
	__u64 start_time;
	__u64 program;
	__u64 since; /* when it died; 0: it has not, as far as events tell */
	struct progress before; /* how far the program and its peer had come then */
	__s32 fd; /* -1: not known */
	__s64 call; /* the system call in which it was closed; -1: not known */
	__u64 args[2];
	__u64 waited; /* as in struct gone_record */
	__u32 uid; /* effective */
	__u32 flags;
	__u8 comm[COMM_LEN];
	struct conn conn; /* when it died: a listener that is closed takes the addresses away */
	struct sock_record sock;
};

_Static_assert(sizeof(struct program_record) == 560, "program_record");
_Static_assert(sizeof(struct gone_record) == 32, "gone_record");
_Static_assert(sizeof(struct dead_record) == 320, "dead_record");

#endif
