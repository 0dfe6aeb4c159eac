// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * on_set_state (a tracepoint) says when a socket changes its state, and on_skipped stands
 * in for it. The rest are iterators, of which a scan runs one after the other, and the last
 * perhaps at the same time as the first:
 *
 *   scan_files*    which process holds which socket, and which listener;
 *   walk_queues*   what waits in the accept queues of these listeners;
 *   report_queued    tells of the latter;
 *   scan_netns     which network namespaces there are;
 *   scan_ehash*    the connections that none of them sees.
 *
 * The first gives timing, the others give truth: the task that happens to run
 * when a FIN arrives has nothing to do with the socket.
 */
#include "transitions.h" /* on_set_state, on_skipped */
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
const struct netns_record *unused_netns __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";
