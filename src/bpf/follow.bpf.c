// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The programs of `sockleak run`: an object of their own, so that the other subcommands load as fast
 * without them. src/probe/follow.rs decides which of them a kernel gets.
 *
 *   program                   kernels        does
 *   on_fork, on_free          all            keep the list of processes that are followed
 *   on_exec                   all            reports the programs that these execute
 *   on_fork_skipped, on_exec_skipped
 *                             all            do that where these were interrupted (7.0 and later)
 *   on_set_state              all            notes sockets that die, and reports those closed late
 *   on_skipped                all            does that where on_set_state was interrupted (6.1 and later)
 *   on_destroy                all            does that for those that make no transition when closed
 *   on_destroy_skipped        all            does that where on_destroy was interrupted
 *   on_process_exit           5.17 and later notes which descriptors an exiting process has: needs bpf_loop()
 *   on_process_exit_skipped   5.17 and later does that where on_process_exit was interrupted
 *   on_process_exit_unrolled  5.8 to 5.16    does that for the first 128
 *   survey_tasks              all            counts survivors, and tasks that close their files
 *   survey_files              all            reports dead sockets that survivors hold, and their listeners
 *   survey_queues             5.9 and later  reports dead sockets in accept queues
 */
#include "tree.h"    /* on_fork, on_free, on_exec */
#include "dead.h"    /* on_set_state, on_skipped, on_destroy */
#include "remains.h" /* on_process_exit*, survey_* */

/* Puts the records' types into the object's BTF, from where the skeleton takes them. */
const enum follow_kind *unused_follow_kind __attribute__((unused));
const enum dead_flag *unused_dead_flag __attribute__((unused));
const struct followed *unused_followed __attribute__((unused));
const struct program_record *unused_program __attribute__((unused));
const struct gone_record *unused_gone __attribute__((unused));
const struct dead_record *unused_dead __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";
