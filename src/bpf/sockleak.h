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
	RECORD_EXIT = 8,       /* struct exit_record: a process has exited */
	/* From the iterators. */
	RECORD_HELD = 2,     /* struct sock_record: a socket that a descriptor refers to */
	RECORD_QUEUED = 3,   /* struct sock_record: a socket in an accept queue */
	RECORD_UNHELD = 4,   /* struct sock_record: a socket, whoever has it */
	RECORD_LISTENER = 5, /* struct listener_record: a listener whose queue is not empty */
	RECORD_PROCESS = 6,  /* struct process_record: a process that holds one of the above */
	RECORD_SAME_FILES = 7, /* struct same_files_record: a process that holds what another does */
};

/* Facts about a socket. User space takes these numbers from here. */
enum sock_flag {
	SOCK_HAS_SOCKET = 1 << 0,     /* a struct socket refers to it: it was accepted, or made by a program */
	SOCK_HAS_FILE = 1 << 1,	      /* that one has a file: a descriptor, or a message, refers to it */
	SOCK_PEER_CLOSED = 1 << 2,    /* the peer's FIN has arrived */
	SOCK_CONNECTED = 1 << 3,      /* it was connected once (a refused connect() was not) */
	SOCK_ORPHAN = 1 << 4,	      /* its program has closed it; the kernel finishes alone */
	SOCK_KERNEL = 1 << 5,	      /* the kernel opened it, for itself or for MPTCP */
	SOCK_SUBFLOW = 1 << 6,	      /* it carries an MPTCP connection, which owns it */
	SOCK_MPTCP = 1 << 7,	      /* it is an MPTCP connection */
	SOCK_SHUT_SEND = 1 << 8,      /* the program has shut down its sending side */
	SOCK_SHUT_RECEIVE = 1 << 9,   /* the receiving side is shut down, by the program or by a FIN */
	SOCK_ACCEPTED = 1 << 10,      /* it is a listener's child, or was a listener */
	SOCK_BOUND = 1 << 11,	      /* it has a local port of its own */
	SOCK_KEEPALIVE = 1 << 12,     /* SO_KEEPALIVE is set */
	SOCK_UNANSWERED = 1 << 13,    /* it retransmits, or probes, and no answer has come */
	SOCK_IN_RING = 1 << 14,	      /* RECORD_HELD: an io_uring's table of files refers to it */
	SOCK_WINDOW_CLOSED = 1 << 15, /* the peer may send less than one segment */
};

/*
 * Sockets are put into groups, by the page that they are in. scan_ehash sums the addresses of each
 * group: a group with other sockets in it has another sum.
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

/* Sequence numbers that move while a program reads and sends, and while its peer takes what was sent. */
struct progress {
	__u32 copied_seq; /* the program has read up to here, */
	__u32 write_seq;  /* has written up to here, */
	__u32 snd_una;	  /* and the peer has acknowledged up to here */
};

struct transition_record {
	__u32 kind;
	__u32 tgid; /* in the PID namespace of the reader; 0: not there, or no actor */
	__u64 sock;
	__u64 ktime; /* ns, CLOCK_MONOTONIC */
	struct conn conn;
	struct progress progress; /* all 0 for MPTCP */
	__u16 sock_flags;
	__u16 err; /* pending errno: why the connection was destroyed */
	__u8 oldstate;
	__u8 newstate;
	__u8 flags;
	__u8 pad[5];
	__u8 comm[COMM_LEN];
};

struct sock_record {
	__u32 kind;
	__u32 tgid; /* RECORD_HELD: the holder, in the PID namespace of the reader */
	__u64 sock;
	__u64 listener;	      /* RECORD_QUEUED: whose queue it waits in */
	__u64 ktime;	      /* ns, CLOCK_MONOTONIC: when this was read */
	__u64 mstamp;	      /* us, CLOCK_MONOTONIC: last packet in or out, or read that copied data */
	__u64 read_mstamp;    /* us, CLOCK_MONOTONIC: a read that copied data; later ones may not be noted */
	__u64 bytes_received; /* one of them for a FIN */
	__u64 bytes_acked;
	struct conn conn;
	struct progress progress;
	__u32 unread;	     /* rcv_nxt - copied_seq: unread bytes, and one for a FIN */
	__u32 jiffies;	     /* the low half, when this was read; the next four are in its terms */
	__u32 rcv_tstamp;    /* last ACK received */
	__u32 lrcvtime;	     /* last data received */
	__u32 lsndtime;	     /* last data sent */
	__u32 probing_since; /* since when the peer's window has been closed; 0: it is open, or not known */
	__u32 fd;	     /* RECORD_HELD: the descriptor; SOCK_IN_RING: the ring's */
	__u32 slot;	     /* SOCK_IN_RING: where in the ring's table */
	__u16 flags;
	__u16 err; /* pending errno: why the connection was destroyed */
	__u8 state;
	__u8 pad[7];
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

enum process_flag {
	PROCESS_STOPPED = 1 << 0, /* by a signal, or by a debugger */
};

/* A process, and what its descriptors refer to. What is in none of these counts is a file. */
struct process_record {
	__u32 kind;
	__u32 tgid;
	__u64 start_time;     /* ns, CLOCK_MONOTONIC: with tgid, it names a process for good */
	__u64 start_boottime; /* ns, CLOCK_BOOTTIME: the same moment, as /proc counts it */
	__u64 fd_limit;	      /* RLIMIT_NOFILE, soft */
	__u32 uid;	      /* effective */
	__u32 flags;
	__u32 open_fds;
	__u32 connected; /* TCP, neither listening nor in CLOSE */
	__u32 listening; /* TCP */
	__u32 closed;	 /* TCP in CLOSE */
	__u32 other_sockets;
	__u32 idle;	      /* of the connected: ESTABLISHED, and no data either way for an hour */
	__u32 idle_unguarded; /* of these: without keepalive */
	__u32 pad;
	__u8 comm[COMM_LEN];
};

/* Two processes share one table of descriptors, which is read for the second one only. */
struct same_files_record {
	__u32 kind;
	__u32 tgid;
	__u32 as; /* the other one's tgid */
	__u32 pad;
};

/* A process of which the last thread has exited. */
struct exit_record {
	__u32 kind;
	__u32 tgid;
	__u64 start_time; /* as in struct process_record */
};

/* Without a kind: the only record of its iterator. */
struct netns_record {
	__u64 net; /* struct net * */
	__u32 inode;
	__u8 has_ehash;	 /* 0: its connections are in the hash table that serves all others */
	__u8 is_initial; /* the host's, which is never gone */
	__u8 pad[2];
};

/* No record: a walk through a hash table, as user space asks for it. */
struct table_walk {
	__u64 net; /* struct net *: whose table; 0: that of the current network namespace */
	__u32 inode;
	__u32 skip; /* how many sockets of each step to pass over */
	__u32 more; /* set by the walk: there are sockets that it had no room for */
	__u32 pad;
};

_Static_assert(sizeof(struct conn) == 48, "conn");
_Static_assert(sizeof(struct progress) == 12, "progress");
_Static_assert(sizeof(struct transition_record) == 112, "transition_record");
_Static_assert(sizeof(struct sock_record) == 168, "sock_record");
_Static_assert(sizeof(struct listener_record) == 80, "listener_record");
_Static_assert(sizeof(struct process_record) == 88, "process_record");
_Static_assert(sizeof(struct same_files_record) == 16, "same_files_record");
_Static_assert(sizeof(struct exit_record) == 16, "exit_record");
_Static_assert(sizeof(struct netns_record) == 16, "netns_record");
_Static_assert(sizeof(struct table_walk) == 24, "table_walk");

#endif
