"""The system calls that a sandboxed program may make: an allow-list, as the program that the kernel runs.

A call that is not listed does not exist for the program (`ENOSYS`), so that a C library falls back on an
older one. What the list leaves out is whatever outlives a process or passes between two: keyrings, System V
and POSIX queues, leases, watches and hints of files, page residency, counters of the machine, priorities.
Not covered: calls that the list allows and that leave a trace in the time that others take.

Numbers are those of Linux 6.1 (`asm/unistd_64.h`, `asm-generic/unistd.h`); layouts those of
`linux/filter.h`, `linux/seccomp.h` and `linux/audit.h`.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Calls(StrEnum):
    """The work of a sandboxed program, which decides about its system calls."""

    COMPUTING = "computing"  # a training or a model on a CPU: files, memory and threads of one process
    ON_CARD = "on_card"  # with pipes, local sockets and locks for a compiler, and the driver's own calls
    PROGRAMS = "programs"  # with pipes and the sandbox's own network, for programs of any kind


@dataclass(frozen=True, slots=True)
class CallTable:
    """A processor's number in the kernel, and its numbers of calls."""

    audit: int
    numbers: Mapping[str, int]
    other_abi: int | None = None  # calls from this number on belong to another interface


@dataclass(frozen=True, slots=True)
class ArgumentRule:
    """A call is allowed where `argument & mask` is one of `values`, and fails with `refusal` elsewhere."""

    argument: int
    values: tuple[int, ...]
    refusal: int
    mask: int = 0xFFFFFFFF


def _numbers(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (word.split("=") for word in text.split())}


X86_64 = """
    read=0 write=1 open=2 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12
    rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 ioctl=16 pread64=17 pwrite64=18 readv=19 writev=20
    access=21 pipe=22 select=23 sched_yield=24 mremap=25 msync=26 mincore=27 madvise=28 shmget=29 shmat=30
    shmctl=31 dup=32 dup2=33 pause=34 nanosleep=35 getitimer=36 alarm=37 setitimer=38 getpid=39 sendfile=40
    socket=41 connect=42 accept=43 sendto=44 recvfrom=45 sendmsg=46 recvmsg=47 shutdown=48 bind=49 listen=50
    getsockname=51 getpeername=52 socketpair=53 setsockopt=54 getsockopt=55 clone=56 fork=57 vfork=58
    execve=59 exit=60 wait4=61 kill=62 uname=63 semget=64 semop=65 semctl=66 shmdt=67 msgget=68 msgsnd=69
    msgrcv=70 msgctl=71 fcntl=72 flock=73 fsync=74 fdatasync=75 truncate=76 ftruncate=77 getdents=78
    getcwd=79 chdir=80 fchdir=81 rename=82 mkdir=83 rmdir=84 creat=85 link=86 unlink=87 symlink=88
    readlink=89 chmod=90 fchmod=91 chown=92 fchown=93 lchown=94 umask=95 gettimeofday=96 getrlimit=97
    getrusage=98 sysinfo=99 times=100 ptrace=101 getuid=102 syslog=103 getgid=104 setuid=105 setgid=106
    geteuid=107 getegid=108 setpgid=109 getppid=110 getpgrp=111 setsid=112 setreuid=113 setregid=114
    getgroups=115 setgroups=116 setresuid=117 getresuid=118 setresgid=119 getresgid=120 getpgid=121
    setfsuid=122 setfsgid=123 getsid=124 capget=125 capset=126 rt_sigpending=127 rt_sigtimedwait=128
    rt_sigqueueinfo=129 rt_sigsuspend=130 sigaltstack=131 utime=132 mknod=133 personality=135 ustat=136
    statfs=137 fstatfs=138 setpriority=141 sched_setparam=142 sched_getparam=143
    sched_setscheduler=144 sched_getscheduler=145 sched_get_priority_max=146 sched_get_priority_min=147
    mlock=149 munlock=150 mlockall=151 munlockall=152 vhangup=153 pivot_root=155 prctl=157 arch_prctl=158
    adjtimex=159 setrlimit=160 chroot=161 sync=162 acct=163 settimeofday=164 mount=165 umount2=166
    swapon=167 swapoff=168 reboot=169 sethostname=170 setdomainname=171 quotactl=179 gettid=186
    readahead=187 tkill=200 time=201 futex=202 sched_setaffinity=203 sched_getaffinity=204 epoll_create=213
    getdents64=217 set_tid_address=218 restart_syscall=219 semtimedop=220 fadvise64=221 timer_create=222
    timer_settime=223 timer_gettime=224 timer_getoverrun=225 timer_delete=226 clock_settime=227
    clock_gettime=228 clock_getres=229 clock_nanosleep=230 exit_group=231 epoll_wait=232 epoll_ctl=233
    tgkill=234 utimes=235 mbind=237 set_mempolicy=238 get_mempolicy=239 mq_open=240 mq_unlink=241
    mq_timedsend=242 mq_timedreceive=243 mq_notify=244 mq_getsetattr=245 waitid=247 add_key=248
    request_key=249 keyctl=250 ioprio_set=251 ioprio_get=252 inotify_init=253 inotify_add_watch=254
    openat=257 mkdirat=258 mknodat=259 fchownat=260 newfstatat=262 unlinkat=263 renameat=264 linkat=265
    symlinkat=266 readlinkat=267 fchmodat=268 faccessat=269 pselect6=270 ppoll=271 unshare=272
    set_robust_list=273 splice=275 tee=276 sync_file_range=277 utimensat=280 epoll_pwait=281 signalfd=282
    timerfd_create=283 eventfd=284 fallocate=285 timerfd_settime=286 timerfd_gettime=287 accept4=288
    signalfd4=289 eventfd2=290 epoll_create1=291 dup3=292 pipe2=293 inotify_init1=294 preadv=295 pwritev=296
    perf_event_open=298 recvmmsg=299 fanotify_init=300 prlimit64=302 name_to_handle_at=303
    open_by_handle_at=304 clock_adjtime=305 syncfs=306 sendmmsg=307 setns=308 getcpu=309
    process_vm_readv=310 process_vm_writev=311 kcmp=312 sched_setattr=314 sched_getattr=315 renameat2=316
    getrandom=318 memfd_create=319 bpf=321 userfaultfd=323 mlock2=325 copy_file_range=326
    rseq=334 close_range=436 faccessat2=439 epoll_pwait2=441 futex_waitv=449
"""
AARCH64 = """
    getcwd=17 eventfd2=19 epoll_create1=20 epoll_ctl=21 epoll_pwait=22 dup=23 dup3=24 fcntl=25
    inotify_init1=26 inotify_add_watch=27 ioctl=29 ioprio_set=30 ioprio_get=31 flock=32 mknodat=33
    mkdirat=34 unlinkat=35 symlinkat=36 linkat=37 renameat=38 umount2=39 mount=40 pivot_root=41 statfs=43
    fstatfs=44 truncate=45 ftruncate=46 fallocate=47 faccessat=48 chdir=49 fchdir=50 chroot=51 fchmod=52
    fchmodat=53 fchownat=54 fchown=55 openat=56 close=57 vhangup=58 pipe2=59 quotactl=60 getdents64=61
    lseek=62 read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68 preadv=69 pwritev=70 sendfile=71
    pselect6=72 ppoll=73 signalfd4=74 splice=76 tee=77 readlinkat=78 newfstatat=79 fstat=80 sync=81 fsync=82
    fdatasync=83 sync_file_range=84 timerfd_create=85 timerfd_settime=86 timerfd_gettime=87 utimensat=88
    acct=89 capget=90 capset=91 personality=92 exit=93 exit_group=94 waitid=95 set_tid_address=96 unshare=97
    futex=98 set_robust_list=99 nanosleep=101 getitimer=102 setitimer=103 timer_create=107 timer_gettime=108
    timer_getoverrun=109 timer_settime=110 timer_delete=111 clock_settime=112 clock_gettime=113
    clock_getres=114 clock_nanosleep=115 syslog=116 ptrace=117 sched_setparam=118 sched_setscheduler=119
    sched_getscheduler=120 sched_getparam=121 sched_setaffinity=122 sched_getaffinity=123 sched_yield=124
    sched_get_priority_max=125 sched_get_priority_min=126 restart_syscall=128 kill=129 tkill=130 tgkill=131
    sigaltstack=132 rt_sigsuspend=133 rt_sigaction=134 rt_sigprocmask=135 rt_sigpending=136
    rt_sigtimedwait=137 rt_sigqueueinfo=138 rt_sigreturn=139 setpriority=140 reboot=142
    setregid=143 setgid=144 setreuid=145 setuid=146 setresuid=147 getresuid=148 setresgid=149 getresgid=150
    setfsuid=151 setfsgid=152 times=153 setpgid=154 getpgid=155 getsid=156 setsid=157 getgroups=158
    setgroups=159 uname=160 sethostname=161 setdomainname=162 getrlimit=163 setrlimit=164 getrusage=165
    umask=166 prctl=167 getcpu=168 gettimeofday=169 settimeofday=170 adjtimex=171 getpid=172 getppid=173
    getuid=174 geteuid=175 getgid=176 getegid=177 gettid=178 sysinfo=179 mq_open=180 mq_unlink=181
    mq_timedsend=182 mq_timedreceive=183 mq_notify=184 mq_getsetattr=185 msgget=186 msgctl=187 msgrcv=188
    msgsnd=189 semget=190 semctl=191 semtimedop=192 semop=193 shmget=194 shmctl=195 shmat=196 shmdt=197
    socket=198 socketpair=199 bind=200 listen=201 accept=202 connect=203 getsockname=204 getpeername=205
    sendto=206 recvfrom=207 setsockopt=208 getsockopt=209 shutdown=210 sendmsg=211 recvmsg=212 readahead=213
    brk=214 munmap=215 mremap=216 add_key=217 request_key=218 keyctl=219 clone=220 execve=221 mmap=222
    fadvise64=223 swapon=224 swapoff=225 mprotect=226 msync=227 mlock=228 munlock=229 mlockall=230
    munlockall=231 mincore=232 madvise=233 mbind=235 get_mempolicy=236 set_mempolicy=237 perf_event_open=241
    accept4=242 recvmmsg=243 wait4=260 prlimit64=261 fanotify_init=262 name_to_handle_at=264
    open_by_handle_at=265 clock_adjtime=266 syncfs=267 setns=268 sendmmsg=269 process_vm_readv=270
    process_vm_writev=271 kcmp=272 sched_setattr=274 sched_getattr=275 renameat2=276 getrandom=278
    memfd_create=279 bpf=280 userfaultfd=282 mlock2=284 copy_file_range=285 rseq=293
    close_range=436 faccessat2=439 epoll_pwait2=441 futex_waitv=449
"""
ARCHITECTURES = {
    "x86_64": CallTable(0xC000003E, _numbers(X86_64), other_abi=0x40000000),  # x32
    "aarch64": CallTable(0xC00000B7, _numbers(AARCH64)),
}
FILES = """
    read write readv writev pread64 pwrite64 preadv pwritev open openat creat close close_range lseek access
    faccessat faccessat2 stat fstat lstat newfstatat getdents getdents64 readlink readlinkat getcwd chdir
    fchdir rename renameat renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat unlink unlinkat chmod
    fchmod fchmodat umask truncate ftruncate fallocate fsync fdatasync utime utimes utimensat dup dup2 dup3
    sendfile copy_file_range
"""  # of its own, and what it is given
MEMORY = """
    mprotect munmap brk mremap msync
"""  # without the calls that have conditions
# A process that lives between two looks at the tree, and that nobody waits for, computes outside of every
# account: on a CPU, where computing is what is counted, a program has one process.
CHILDREN = "fork vfork"
PROCESSES = """
    execve exit exit_group wait4 waitid getpid getppid gettid getpgrp getpgid setpgid getsid
    setsid getuid geteuid getgid getegid getresuid getresgid getgroups capget kill tkill tgkill rt_sigaction
    rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo sigaltstack
    pause prlimit64 getrlimit setrlimit getrusage times uname restart_syscall
"""  # its own: the sandbox has its own process numbers
THREADS = """
    futex futex_waitv set_tid_address set_robust_list rseq arch_prctl getcpu sched_yield sched_getaffinity
    sched_setaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
"""  # and how they wait for each other
TIME = """
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time alarm setitimer getitimer
    timerfd_create timerfd_settime timerfd_gettime
"""  # clocks and timers of the process
EVENTS = """
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd eventfd2 signalfd signalfd4 getrandom
"""  # what lives in a file descriptor, without a number of its own
# A pipe or socket gets the next number of a counter of the whole machine, which `fstat` shows: whoever
# can make some can leave a message there for the next.
PIPES = "pipe pipe2 splice tee"
SOCKETS = """
    connect accept accept4 bind listen getsockname getpeername sendto recvfrom sendmsg recvmsg sendmmsg
    recvmmsg shutdown setsockopt getsockopt
"""  # with the conditions of `socket`
LOCKS = "flock"
CARDS = """
    memfd_create mlock mlock2 munlock mlockall munlockall get_mempolicy set_mempolicy mbind timer_create
    timer_settime timer_gettime timer_getoverrun timer_delete personality sched_getattr
"""  # what a driver and a compiler need besides
IGNORED = """
    fadvise64 readahead sync_file_range sync syncfs
"""  # hints about the pages of files: nothing is done, and the program is told that it was
FORBIDDEN = """
    fork vfork pipe pipe2 memfd_create
    socket socketpair unshare setns mount umount2 pivot_root chroot ptrace process_vm_readv
    process_vm_writev kcmp keyctl add_key request_key bpf perf_event_open userfaultfd mincore statfs fstatfs
    ustat sysinfo inotify_init inotify_init1 inotify_add_watch fanotify_init shmget shmat shmctl shmdt
    semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend
    mq_timedreceive mq_notify mq_getsetattr setpriority ioprio_set ioprio_get sched_setparam
    sched_setscheduler sched_setattr setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid
    setfsgid capset chown fchown lchown fchownat mknod mknodat syslog acct reboot settimeofday clock_settime
    adjtimex clock_adjtime quotactl swapon swapoff sethostname setdomainname name_to_handle_at
    open_by_handle_at vhangup
"""  # where "not permitted" is a clearer answer than "does not exist"

NAMESPACES = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
CLONE_REFUSED = NAMESPACES | 0x1000 | 0x2000  # a file descriptor of a process, and tracing
THREAD = 0x10000  # CLONE_THREAD
HUGE_PAGES = 0x40000  # MAP_HUGETLB: out of a pool of the machine
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ, F_GET_SEALS
FCNTL = (0, 1, 2, 3, 4, 1030, 1032, 1034)
FCNTL_LOCKS = (5, 6, 7, 36, 37, 38)  # of a process, and of an open file
FCNTL_MEMORY = (1031, 1033)  # F_SETPIPE_SZ, F_ADD_SEALS
# TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
IOCTL = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
IOCTL_OF_DRIVERS = (
    0x4600,
    0x6D00,
    0x4700,
)  # NVIDIA's cards and its modes, and WSL2's device, by their letter
IOCTL_OF_UVM = (0x0, 0x30000000)  # NVIDIA's unified memory counts from these
# PR_(SET|GET)_(PDEATHSIG|DUMPABLE|NAME|TIMERSLACK|NO_NEW_PRIVS|THP_DISABLE), PR_GET_SECCOMP, PR_CAPBSET_READ,
# PR_SET_VMA
PRCTL = (1, 2, 3, 4, 15, 16, 29, 30, 38, 39, 41, 42, 21, 23, 0x53564D41)
# MADV_NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE, (DONT|DO)FORK, NOHUGEPAGE, (DONT|DO)DUMP,
# (WIPE|KEEP)ONFORK, POPULATE_(READ|WRITE): no merging, no collapsing, no paging out
MADVISE = (0, 1, 2, 3, 4, 8, 10, 11, 15, 16, 17, 18, 19, 22, 23)
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10


@dataclass(frozen=True, slots=True)
class CallRules:
    """The calls that are allowed, that have conditions (any of them), and that get an answer of their own."""

    allowed: frozenset[str]
    conditions: Mapping[str, tuple[ArgumentRule, ...]]
    answers: Mapping[str, int]  # name → error number; 0 says that it was done


def rules(calls: Calls) -> CallRules:
    """The rules for one kind of work."""
    allowed = " ".join((FILES, MEMORY, PROCESSES, THREADS, TIME, EVENTS))
    fcntl: tuple[int, ...] = FCNTL
    ioctl = [ArgumentRule(1, IOCTL, errno.ENOTTY)]
    conditions: dict[str, tuple[ArgumentRule, ...]] = {
        "clone": (ArgumentRule(0, (0,), errno.EPERM, mask=CLONE_REFUSED),),
        "mmap": (ArgumentRule(3, (0,), errno.ENOMEM, mask=HUGE_PAGES),),
        "prctl": (ArgumentRule(0, PRCTL, errno.EINVAL),),
        "madvise": (ArgumentRule(2, MADVISE, errno.EINVAL),),
    }
    if calls is Calls.COMPUTING:
        conditions["clone"] = (ArgumentRule(0, (THREAD,), errno.EPERM, mask=CLONE_REFUSED | THREAD),)
    else:
        allowed = " ".join((allowed, CHILDREN, PIPES, SOCKETS, LOCKS))
        fcntl += FCNTL_LOCKS + FCNTL_MEMORY
        families = (AF_UNIX,) if calls is Calls.ON_CARD else (AF_UNIX, AF_INET, AF_INET6)
        conditions["socket"] = (ArgumentRule(0, families, errno.EPERM),)
        conditions["socketpair"] = (ArgumentRule(0, (AF_UNIX,), errno.EPERM),)
    if calls is Calls.ON_CARD:
        allowed = f"{allowed} {CARDS}"
        ioctl.append(ArgumentRule(1, IOCTL_OF_DRIVERS, errno.ENOTTY, mask=0xFF00))
        ioctl.append(ArgumentRule(1, IOCTL_OF_UVM, errno.ENOTTY, mask=0xFFFFFF00))
    conditions |= {"fcntl": (ArgumentRule(1, fcntl, errno.EINVAL),), "ioctl": tuple(ioctl)}
    answers = dict.fromkeys(FORBIDDEN.split(), errno.EPERM) | dict.fromkeys(IGNORED.split(), 0)
    names = frozenset(allowed.split())
    answers = {name: said for name, said in answers.items() if name not in names | conditions.keys()}
    return CallRules(names, conditions, answers)


# Instructions of the classic filter machine
LOAD, EQUAL, GREATER_EQUAL, GREATER, AND, RETURN = 0x20, 0x15, 0x35, 0x25, 0x54, 0x06
KILL, ALLOW, ERROR = 0x80000000, 0x7FFF0000, 0x00050000
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16  # in what the filter is shown
Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value


def is_supported(machine: str = "") -> bool:
    """Whether there are numbers for this processor."""
    return (machine or platform.machine()) in ARCHITECTURES


def call_number(name: str, machine: str = "") -> int:
    """The number of a call on this processor; see `is_supported`."""
    return ARCHITECTURES[machine or platform.machine()].numbers[name]


def filter_program(calls: Calls, machine: str = "") -> bytes:
    """The filter as the kernel and `bwrap --seccomp` read it.

    Raises:
        KeyError: there are no numbers for this processor; see `is_supported`.
    """
    return b"".join(struct.pack("<HBBI", *each) for each in instructions(calls, machine))


def instructions(calls: Calls, machine: str = "") -> list[Instruction]:
    """The filter, one instruction each."""
    architecture = ARCHITECTURES[machine or platform.machine()]
    given, numbers = rules(calls), architecture.numbers
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 1, 0, architecture.audit),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
    ]
    if architecture.other_abi is not None:
        program += [(GREATER_EQUAL, 0, 1, architecture.other_abi), (RETURN, 0, 0, ERROR | errno.ENOSYS)]
    for first, last in _ranges(numbers[name] for name in given.allowed if name in numbers):
        program += [(GREATER_EQUAL, 0, 2, first), (GREATER, 1, 0, last), (RETURN, 0, 0, ALLOW)]
    for name, conditions in sorted(given.conditions.items()):
        block = [step for condition in conditions for step in _checked(condition)]
        block.append((RETURN, 0, 0, ERROR | conditions[-1].refusal))
        program += [(EQUAL, 0, len(block), numbers[name]), *block]
    for name, said in sorted(given.answers.items()):
        if name in numbers:
            program += [(EQUAL, 0, 1, numbers[name]), (RETURN, 0, 0, ERROR | said)]
    return [*program, (RETURN, 0, 0, ERROR | errno.ENOSYS)]


def _checked(condition: ArgumentRule) -> Iterator[Instruction]:
    """Allow the call where the condition holds; else go on. The kernel, too, looks at the low half alone."""
    yield (LOAD, 0, 0, ARGUMENTS_AT + 8 * condition.argument)
    yield (AND, 0, 0, condition.mask)
    for value in condition.values:
        yield (EQUAL, 0, 1, value)
        yield (RETURN, 0, 0, ALLOW)


def _ranges(numbers: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Numbers that follow each other, as (first, last)."""
    first = last = -1
    for number in sorted(numbers):
        if first >= 0 and number == last + 1:
            last = number
            continue
        if first >= 0:
            yield first, last
        first = last = number
    if first >= 0:
        yield first, last
