// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Every program, the kernels that load it, and why there is more than one of a kind.
 * src/probe/variants.rs decides, by what the kernel's BTF states; src/probe/scan.rs explains how
 * the iterators work together.
 *
 *   program               kernels       does
 *   on_set_state          all           reports changes of state, from a tracepoint
 *   on_skipped            all           does that where on_set_state was interrupted (6.1 and later)
 *   on_exit               all           reports processes that exit, for a table of holders
 *   scan_tasks            6.2 and later reads tables of descriptors: needs bpf_rdonly_cast()
 *   report_kept           6.2 and later writes the records that scan_tasks keeps
 *   scan_files            5.11 to 6.1   visits open files: needs bpf_sock_from_file()
 *   scan_files_by_magic   before 5.11   does that by the magic number of a file's file system
 *   walk_queues           5.17 and later notes what waits in accept queues: needs bpf_loop()
 *   walk_queues_unrolled  5.9 to 5.16   does that for the first 1,024 of each queue
 *   report_queued         5.9 and later writes a record for each of them
 *   scan_ehash            5.17, 6.1 and later
 *                                       walks through a hash table of connections: needs bpf_loop()
 *   scan_ehash_apart      5.18 to 6.0   does that where the table hangs on a struct of its own
 *   scan_ehash_unrolled   5.9 to 5.16   does that without bpf_loop()
 *   scan_netns            6.1 and later names all network namespaces, which can have their own table
 *
 * The tracepoint gives timing, the iterators give truth: the task that happens to run when a FIN
 * arrives has nothing to do with the socket.
 */
#include "transitions.h" /* on_set_state, on_skipped */
#include "exits.h"	 /* on_exit */
#include "kept.h"	 /* report_kept */
#include "files.h"	 /* scan_files* */
#include "tasks.h"	 /* scan_tasks */
#include "queues.h"	 /* walk_queues*, report_queued */
#include "ehash.h"	 /* scan_netns, scan_ehash* */

/* Puts the records' types into the object's BTF, from where the skeleton takes them. */
const enum record_kind *unused_record_kind __attribute__((unused));
const enum sock_flag *unused_sock_flag __attribute__((unused));
const enum sock_group *unused_sock_group __attribute__((unused));
const enum process_flag *unused_process_flag __attribute__((unused));
const enum transition_flag *unused_transition_flag __attribute__((unused));
const struct transition_record *unused_transition __attribute__((unused));
const struct sock_record *unused_sock __attribute__((unused));
const struct listener_record *unused_listener __attribute__((unused));
const struct process_record *unused_process __attribute__((unused));
const struct same_files_record *unused_same_files __attribute__((unused));
const struct exit_record *unused_exit __attribute__((unused));
const struct netns_record *unused_netns __attribute__((unused));
const struct table_walk *unused_table_walk __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";
