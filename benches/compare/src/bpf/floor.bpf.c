// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The least that any BPF tool must spend: an iterator over all open files that only
 * counts the sockets in CLOSE_WAIT, and a tracepoint program that does nothing.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define SOCKFS_MAGIC 0x534F434B
#define IPPROTO_TCP 6
#define TCP_CLOSE_WAIT 8

__u64 counted = 0;

SEC("iter/task_file")
int count_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	if (task != task->group_leader && task->files == task->group_leader->files)
		return 0;
	if (file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
		return 0;
	socket = file->private_data;
	sk = BPF_CORE_READ(socket, sk);
	if (BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP &&
	    BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE_WAIT)
		counted++;
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(do_nothing, struct sock *sk, int oldstate, int newstate)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
