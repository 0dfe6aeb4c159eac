"""Compares `sockleak watch --json` with the truth, for as long as it is told, under mixed churn.

Usage (as root): soak.py SOCKLEAK MINUTES. In a network namespace of its own, some planters leak
connections, close them, reset them, let them wait in accept queues, pass them to each other, and fork
children that inherit them and exit; numbers of processes are used again at once. Several times a minute
they stand still and tell what they hold, and `watch` has to come to exactly that within a scan's longest
wait. At no time may a row name a process that was gone before.

It prints how many comparisons were made and how many differed, and how much memory and how many
descriptors `watch` has gained since the first. It ends with 1 where anything differed.
"""

import collections
import ctypes
import fcntl
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PLANTERS = 4
CHURN_SECONDS = 12
LONGEST_WAIT = 40  # 30 s until the next scan, and time for it on a busy host
MOST_LEAKS = 150
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def enter_network_namespace():
    """From here on, loopback is our own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        sys.exit("soak.py: a network namespace of its own needs root")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    return os.stat("/proc/self/ns/net").st_ino


class Planter:
    """A process that leaks, and knows what."""

    def __init__(self, inbox, outbox):
        self.inbox, self.outbox = inbox, outbox
        self.inbox.setblocking(False)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.crowded = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = self.listener.getsockname()
        self.leaks, self.children, self.waiting = {}, {}, 0
        self.last_gone = None

    def connection(self):
        """Both ends: the client's first."""
        client = socket.socket()
        client.connect(self.address)
        return client, self.listener.accept()[0]

    def keep(self, leak):
        self.leaks[leak.fileno()] = leak

    def any_leak(self):
        return self.leaks.pop(random.choice(list(self.leaks))) if self.leaks else None

    def leak(self):
        if len(self.leaks) < MOST_LEAKS:
            client, server = self.connection()
            client.send(b"request"[: random.randrange(7)])
            client.close()
            self.keep(server)

    def reset(self):
        if len(self.leaks) < MOST_LEAKS:
            client, server = self.connection()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            self.keep(server)

    def close(self):
        leak = self.any_leak()
        if leak:
            leak.close()

    def work(self):
        client, server = self.connection()
        client.send(b"?")
        server.recv(1)
        client.close()
        server.close()

    def hand_over(self):
        leak = self.any_leak()
        if leak:
            socket.send_fds(self.outbox, [b"!"], [leak.fileno()])
            leak.close()

    def take_over(self):
        try:
            while fds := socket.recv_fds(self.inbox, 1, 1)[1]:
                self.keep(socket.socket(fileno=fds[0]))
        except BlockingIOError:
            pass

    def crowd(self):
        if self.waiting < 50:
            client = socket.socket()
            client.connect(self.crowded.getsockname())
            client.close()
            self.waiting += 1

    def accept_crowd(self):
        while self.waiting:
            self.crowded.accept()[0].close()
            self.waiting -= 1

    def fork(self):
        if len(self.children) >= 4:
            return
        if self.last_gone and random.random() < 0.5:
            # The next process gets that number, if it is free.
            with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as last:
                last.write(str(self.last_gone - 1))
        pid = os.fork()
        if not pid:
            while True:
                signal.pause()
        self.children[pid] = sorted(self.leaks)

    def end_child(self):
        if self.children:
            pid = random.choice(list(self.children))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            del self.children[pid]
            self.last_gone = pid

    def churn(self):
        actions = [self.leak, self.leak, self.reset, self.close, self.close, self.work, self.work,
                   self.hand_over, self.take_over, self.crowd, self.accept_crowd, self.fork,
                   self.end_child]
        random.choice(actions)()
        time.sleep(random.random() / 100)

    def truth(self):
        self.take_over()
        held = {os.getpid(): sorted(self.leaks), **self.children}
        port = self.crowded.getsockname()[1]
        return {"held": {pid: fds for pid, fds in held.items() if fds},
                "queued": {port: self.waiting} if self.waiting else {}}

    def run(self, orders, answers):
        is_churning = False
        os.set_blocking(orders.fileno(), False)
        while True:
            order = orders.readline().strip()
            if order == "churn":
                is_churning = True
            elif order in ("stop", "tell"):
                is_churning = False
                print(json.dumps(self.truth() if order == "tell" else {}), file=answers, flush=True)
            elif order == "end":
                for pid in self.children:
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            if is_churning:
                self.churn()
            else:
                time.sleep(0.01)


class Planters:
    """All of them, each passing to the next."""

    def __init__(self):
        pairs = [socket.socketpair() for _ in range(PLANTERS)]
        self.pipes = []
        for at in range(PLANTERS):
            orders, answers = os.pipe(), os.pipe()
            if not os.fork():
                planter = Planter(pairs[at][0], pairs[(at + 1) % PLANTERS][1])
                planter.run(open(orders[0], encoding="ascii"), open(answers[1], "w", encoding="ascii"))
            os.close(orders[0])
            os.close(answers[1])
            self.pipes.append((open(orders[1], "w", encoding="ascii"), open(answers[0], encoding="ascii")))

    def order(self, what):
        for orders, _ in self.pipes:
            print(what, file=orders, flush=True)

    def ask(self, what):
        self.order(what)
        return [json.loads(answers.readline()) for _, answers in self.pipes]

    def truth(self):
        self.ask("stop")
        told = self.ask("tell")
        held = {(int(pid), fd) for each in told for pid, fds in each["held"].items() for fd in fds}
        queued = {int(port): count for each in told for port, count in each["queued"].items()}
        return held, queued


class Watch:
    """`sockleak watch`, and its newest report."""

    def __init__(self, sockleak, netns):
        command = [sockleak, "watch", "--json", "--interval", "500ms", "--netns", str(netns)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.changed = threading.Condition()
        self.report, self.reports = None, 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.report, self.reports = json.loads(line), self.reports + 1
                self.changed.notify()
        with self.changed:
            self.report = None
            self.changed.notify()

    def next(self):
        with self.changed:
            before = self.reports
            self.changed.wait_for(lambda: self.reports > before or self.process.poll() is not None, 120)
            if self.reports == before:
                sys.exit("soak.py: watch has ended, or says nothing for two minutes")
            return self.report

    def weight(self):
        """Its memory in kB, and its descriptors."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        return memory, len(os.listdir(f"/proc/{self.process.pid}/fd"))


def told(report):
    """What a report says is held, and what waits in queues."""
    held, queued = set(), collections.Counter()
    for row in report["sockets"]:
        if row["ownership"] == "listener":
            queued[int(row["local"].rsplit(":", 1)[1])] += 1
        else:
            held.update((row["pid"], fd) for fd in row["fds"] or [None])
    return held, dict(queued)


def names_the_dead(report):
    pids = {row["pid"] for row in report["sockets"]} - {None}
    return sorted(pid for pid in pids if not os.path.exists(f"/proc/{pid}"))


def compare(watch, truth):
    """Waits for a report that is the truth; what the last one had in excess, and lacked."""
    # The first report may have been made before all stood still; the dead are none of the next.
    watch.next()
    report = watch.next()
    dead = names_the_dead(report)
    end = time.monotonic() + LONGEST_WAIT
    while told(report) != truth and time.monotonic() < end:
        report = watch.next()
    held, queued = told(report)
    if (held, queued) == truth and not dead:
        return None
    return {"excess": sorted(map(str, held - truth[0])), "lacks": sorted(map(str, truth[0] - held)),
            "queued": queued, "truly queued": truth[1], "dead": dead,
            "incomplete": report["incomplete"]}


def main():
    """Soaks."""
    sockleak, minutes = sys.argv[1], float(sys.argv[2])
    netns = enter_network_namespace()
    planters = Planters()
    watch = Watch(sockleak, netns)
    watch.next()
    first, comparisons, differences, sockets = None, 0, 0, 0
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end:
        planters.order("churn")
        time.sleep(CHURN_SECONDS)
        truth = planters.truth()
        difference = compare(watch, truth)
        comparisons += 1
        if watch.report["incomplete"]:
            print(json.dumps(watch.report["incomplete"]))
        sockets += len(truth[0]) + sum(truth[1].values())
        if difference:
            differences += 1
            print(json.dumps(difference))
        first = first or watch.weight()
    last, lost = watch.weight(), watch.report["lost_events"]
    planters.order("end")
    watch.process.send_signal(signal.SIGTERM)
    watch.process.wait()
    print(f"{comparisons} comparisons of {sockets} rows in {minutes:g} min, {watch.reports} reports: "
          f"{differences} differences, {lost} events lost; memory {first[0]} to {last[0]} kB, "
          f"descriptors {first[1]} to {last[1]}")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
