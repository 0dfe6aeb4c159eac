/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The kernel types and fields that sockleak's BPF programs read, and nothing
 * else. CO-RE relocates every access to the running kernel's own layout, so
 * order and offsets here mean nothing, and one header serves all architectures.
 * See README.md beside this file before adding a field.
 */
#ifndef VMLINUX_H
#define VMLINUX_H

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
enum { false = 0, true = 1 };

/* Not types of our programs, but of the helpers' prototypes. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum {
	BPF_ANY = 0,
};
enum {
	BPF_F_NO_PREALLOC = 1,
};
enum {
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};
enum {
	BPF_RB_AVAIL_DATA = 0,
};
enum bpf_func_id {
	BPF_FUNC_skc_to_tcp_sock = 137,
	BPF_FUNC_task_pt_regs = 175,
};

/*
 * What iterators are handed, and lists. They are laid out the same on every kernel and stand here as they
 * do there, up to the last field that is used: nothing is looked up in the kernel's BTF.
 */
struct bpf_map;
struct file;
struct seq_file;
struct task_struct;
struct list_head {
	struct list_head *next;
	struct list_head *prev;
};
struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};
struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;
typedef struct {
	__s64 counter;
} atomic64_t;
typedef struct {
	atomic64_t refcnt;
} file_ref_t;
typedef struct {
	unsigned int val;
} kuid_t;
struct proc_ns_operations;
struct ns_common {
	const struct proc_ns_operations *ops;
	unsigned int inum;
};

/* Tasks. */
struct pid_namespace {
	struct ns_common ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct upid numbers[1];
};
struct rlimit {
	unsigned long rlim_cur;
};
struct signal_struct {
	atomic_t live; /* threads that have not begun to exit */
	int nr_threads;
	struct rlimit rlim[16];
};
struct cred {
	kuid_t euid;
};
struct inet_hashinfo;
struct inet_timewait_death_row {
	struct inet_hashinfo *hashinfo;
};
struct netns_ipv4 {
	struct inet_timewait_death_row tcp_death_row;
};
struct net {
	struct list_head list;
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};
struct nsproxy {
	struct net *net_ns;
};
struct file;
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	atomic_t count;
	struct fdtable *fdt;
};
struct sched_info {
	__u64 run_delay;
};
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};
struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	const struct cred *cred;
	char comm[16];
	struct files_struct *files;
	struct signal_struct *signal;
	struct nsproxy *nsproxy;
	__u64 start_time;
	__u64 start_boottime;
	unsigned int __state;
	int exit_state;
	struct sched_info sched_info;
	__u64 self_exec_id;
	struct mm_struct *mm;
	void *stack;
};
/* Before 5.14 (2f064a59a11f). */
struct task_struct___before_5_14 {
	volatile long state;
};

/* The registers of a task in user mode, on x86. */
struct pt_regs {
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};

/* Files. */
struct super_block {
	unsigned long s_magic;
};
struct inode {
	struct super_block *i_sb;
};
struct file_operations;
struct file {
	struct inode *f_inode;
	const struct file_operations *f_op;
	void *private_data;
	file_ref_t f_ref;
};
/* Before 6.13 (90ee6ed776c0). */
struct file___before_6_13 {
	atomic64_t f_count;
};

/* Sockets. */
typedef struct {
	struct net *net;
} possible_net_t;
struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};
struct hlist_nulls_node {
	struct hlist_nulls_node *next;
};
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	struct hlist_nulls_node skc_nulls_node;
	unsigned long skc_flags;
};
struct socket;
typedef struct {
	int owned;
} socket_lock_t;
struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	int sk_err;
	struct socket *sk_socket;
	__u16 sk_protocol;
	__u8 sk_kern_sock : 1;
	__u8 sk_shutdown;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
};
struct socket {
	short type;
	struct file *file;
	struct sock *sk;
};
enum sock_flags {
	SOCK_DEAD = 0,
	SOCK_DONE = 1,
	SOCK_KEEPOPEN = 3,
};
struct request_sock {
	struct request_sock *dl_next;
	struct sock *sk;
};
struct request_sock_queue {
	struct request_sock *rskq_accept_head;
};
struct ipv6_pinfo {
	int mcast_oif;
};
struct inet_sock {
	struct sock sk;
	struct ipv6_pinfo *pinet6;
	int mc_index;
	__be16 inet_sport;
};
struct inet_timewait_sock {
	volatile unsigned char tw_substate;
};
struct inet_connection_sock {
	struct inet_sock icsk_inet;
	struct request_sock_queue icsk_accept_queue;
	__u8 icsk_retransmits;
	__u8 icsk_probes_out;
	__u32 icsk_probes_tstamp;
	struct {
		__u32 lrcvtime;
		__u16 rcv_mss;
	} icsk_ack;
};
struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 rcv_wup;
	__u32 rcv_wnd;
	__u32 write_seq;
	__u32 snd_una;
	__u64 bytes_received;
	__u64 bytes_acked;
	struct {
		__u64 time;
	} rcvq_space;
	__u32 rcv_tstamp;
	__u32 lsndtime;
	__u64 tcp_mstamp;
	bool is_mptcp;
};
struct inet_ehash_bucket;
struct inet_hashinfo {
	struct inet_ehash_bucket *ehash;
	unsigned int ehash_mask;
	bool pernet;
};
/* The table of files of an io_uring. Since 6.13 (7029acd8a950). */
struct io_rsrc_node {
	unsigned long file_ptr;
};
struct io_rsrc_data {
	unsigned int nr;
	struct io_rsrc_node **nodes;
};
struct io_file_table {
	struct io_rsrc_data data;
};
struct io_ring_ctx {
	struct io_file_table file_table;
};
struct mptcp_sock {
	struct list_head conn_list;
};
struct mptcp_subflow_context {
	struct list_head node;
	struct sock *tcp_sock;
};

/* In 5.18 to 6.0 the death row lies elsewhere (fbb8295248e1, 17c91487364f). */
struct netns_ipv4___apart {
	struct inet_timewait_death_row *tcp_death_row;
};
struct net___apart {
	struct netns_ipv4___apart ipv4;
};

#pragma clang attribute pop

#endif
