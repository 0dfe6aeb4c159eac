/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The records that cross from the kernel to user space. This file is the one
 * contract between both sides: the skeleton's generator turns these types into
 * Rust, so nothing has to be kept in step by hand.
 *
 * Every record begins with its kind, has fixed widths and explicit padding, and
 * a size that is asserted below.
 */
#ifndef SOCKLEAK_H
#define SOCKLEAK_H

#define COMM_LEN 16

enum record_kind {
	/* From the ring buffer. */
	RECORD_TRANSITION = 1, /* struct transition_record: a socket changed its state */
	/* From the iterators. */
	RECORD_HELD = 2,     /* struct sock_record: a socket that a descriptor refers to */
	RECORD_QUEUED = 3,   /* struct sock_record: a socket in an accept queue */
	RECORD_UNHELD = 4,   /* struct sock_record: a socket, whoever has it */
	RECORD_LISTENER = 5, /* struct listener_record: a listener whose queue is not empty */
	RECORD_PROCESS = 6,  /* struct process_record: a process that holds one of the above */
};

enum sock_flag {
	SOCK_HAS_SOCKET = 1 << 0,  /* a struct socket refers to it: it was accepted, or connected */
	SOCK_HAS_FILE = 1 << 1,    /* and that one has a file: some descriptor, perhaps in flight */
	SOCK_PEER_CLOSED = 1 << 2, /* the peer's FIN has arrived */
	SOCK_CONNECTED = 1 << 3,   /* it was connected once (a refused connect() was not) */
	SOCK_ORPHAN = 1 << 4,      /* its program has closed it; the kernel finishes alone */
	SOCK_KERNEL = 1 << 5,      /* the kernel opened it, for itself or for MPTCP */
	SOCK_SUBFLOW = 1 << 6,     /* it carries an MPTCP connection, which owns it */
	SOCK_MPTCP = 1 << 7,       /* it is an MPTCP connection */
	SOCK_SHUT_BOTH = 1 << 8,   /* both directions are shut down */
};

/*
 * Sockets are put into groups, by the page that they are in. Of a group, scan_ehash tells the sum
 * of the addresses: with other sockets in it, it has another sum.
 */
enum sock_group {
	GROUP_SHIFT = 12,
	GROUPS = 1 << 10,
};

enum transition_flag {
	ACTOR = 1 << 0, /* the current task made the transition; tgid and comm are its own */
	ACTOR_EXITING = 1 << 1, /* by exiting */
};

/* Which connection: what identifies a socket, besides its address in memory. */
struct conn {
	__u8 saddr[16]; /* IPv4 as v4-mapped IPv6; network order */
	__u8 daddr[16];
	__u16 sport; /* host order */
	__u16 dport;
	__u32 netns; /* inode of the network namespace */
	__u64 cookie; /* 0 while it has none */
};

struct transition_record {
	__u32 kind;
	__u32 tgid; /* in the PID namespace of the reader; 0: not there, or no actor */
	__u64 sock;
	__u64 ktime; /* ns, CLOCK_MONOTONIC */
	struct conn conn;
	__u16 sock_flags;
	__u16 err; /* pending errno: why the connection was destroyed */
	__u8 oldstate;
	__u8 newstate;
	__u8 flags;
	__u8 pad;
	__u8 comm[COMM_LEN];
};

struct sock_record {
	__u32 kind;
	__u32 tgid; /* RECORD_HELD: the holder, in the PID namespace of the reader */
	__u64 sock;
	__u64 listener; /* RECORD_QUEUED: whose queue it waits in */
	__u64 ktime;	/* ns, CLOCK_MONOTONIC: when this was read */
	__u64 mstamp;	/* us, CLOCK_MONOTONIC: last packet in or out */
	struct conn conn;
	__u32 jiffies;	  /* the low half, when this was read; the next three are in its terms */
	__u32 rcv_tstamp; /* last ACK received */
	__u32 lrcvtime;	  /* last data received */
	__u32 lsndtime;	  /* last data sent */
	__u32 fd;	  /* RECORD_HELD: the descriptor */
	__u32 unread;	  /* rcv_nxt - copied_seq: unread bytes, and one for a FIN */
	__u16 flags;
	__u16 err; /* pending errno: why the connection was destroyed */
	__u8 state;
	__u8 pad[3];
};

struct listener_record {
	__u32 kind;
	__u32 tgid;
	__u64 sock;
	struct conn conn;
	__u32 fd;
	__u32 backlog;
	__u32 max_backlog;
	__u32 pad;
};

struct process_record {
	__u32 kind;
	__u32 tgid;
	__u32 uid; /* effective */
	__u32 open_fds;
	__u64 fd_limit; /* RLIMIT_NOFILE, soft */
	__u8 comm[COMM_LEN];
};

/* Without a kind: the only record of its iterator. */
struct netns_record {
	__u32 inode;	 /* 0: of no task any more */
	__u32 has_ehash; /* 0: its connections are in the hash table that serves all others */
};

_Static_assert(sizeof(struct conn) == 48, "conn");
_Static_assert(sizeof(struct transition_record) == 96, "transition_record");
_Static_assert(sizeof(struct sock_record) == 120, "sock_record");
_Static_assert(sizeof(struct listener_record) == 80, "listener_record");
_Static_assert(sizeof(struct process_record) == 40, "process_record");
_Static_assert(sizeof(struct netns_record) == 8, "netns_record");

#endif
