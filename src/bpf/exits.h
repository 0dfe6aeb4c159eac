/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Processes that exit. A holder is known from the last scan; when it exits, its rows must go, and
 * its number may soon be another process's.
 *
 * Each exit is reported while the table has any holder at all: to send a record takes a tenth of a
 * microsecond, an exit a hundred, and a list of holders in the kernel would have to be kept in step
 * with the table.
 */
#ifndef SOCKLEAK_EXITS_H
#define SOCKLEAK_EXITS_H

#include "read.h"
#include "ring.h"
#include <bpf/bpf_tracing.h>

/*
 * True if exits are reported. User space sets it before a scan: a process whose threads have all
 * left by then is not scanned (is_exiting()), and any later exit comes through the ring.
 */
bool report_exits = false;

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct exit_record record = { .kind = RECORD_EXIT };

	if (!report_exits || !is_exiting(task))
		return 0;
	record.tgid = visible_tgid(task, true);
	record.start_time = BPF_CORE_READ(task, group_leader, start_time);
	if (record.tgid && bpf_ringbuf_output(&ring, &record, sizeof(record), wakeup()))
		__sync_fetch_and_add(&lost, 1);
	return 0;
}

#endif
