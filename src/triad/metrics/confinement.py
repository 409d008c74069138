"""What the kernel takes from the process that runs a program, before it runs it.

This file is started as a script, by an interpreter that has the standard library only. It reads the program,
gives up, for good, all that the program must not have, runs it, and reports. On Linux

* Landlock (since 5.13) leaves it the standard library and the system's libraries to read, and no other file;
  nor may it look into another process (environment, memory);
* seccomp leaves it the calls that computing takes. Others fail: it opens no file for writing, removes and
  renames none, opens no socket, starts no process and no other program, sends no signal;
* rlimits bound processor time, memory, and the size of what it writes; it has no capability and no core dump.

These hold whatever the program does: Python's own functions are as they were.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
import sysconfig
from types import ModuleType

TOKEN, REPORT = "token", "report"  # names of descriptors
CONFINED = b"!"  # begins every report
LONGEST_REPORT = 500  # bytes

# calls that stay, with their numbers on x86_64 and on aarch64 (arch/x86/entry/syscalls/syscall_64.tbl,
# include/uapi/asm-generic/unistd.h)
CALLS = """
    read=0,63 write=1,64 readv=19,65 writev=20,66 pread64=17,67 lseek=8,62 close=3,57 open=2,- openat=257,56
    fstat=5,80 stat=4,- lstat=6,- newfstatat=262,79 statx=332,291 access=21,- faccessat=269,48
    faccessat2=439,439 readlink=89,- readlinkat=267,78 getcwd=79,17 getdents64=217,61 dup=32,23 dup2=33,-
    dup3=292,24 fcntl=72,25 ioctl=16,29 pipe=22,- pipe2=293,59 poll=7,- ppoll=271,73 select=23,-
    pselect6=270,72 epoll_create1=291,20 epoll_ctl=233,21 epoll_wait=232,- epoll_pwait=281,22 eventfd2=290,19
    socketpair=53,199 mmap=9,222 munmap=11,215 mremap=25,216 mprotect=10,226 madvise=28,233 brk=12,214
    membarrier=324,283 clone=56,220 exit=60,93 exit_group=231,94 set_tid_address=218,96
    set_robust_list=273,99 rseq=334,293 arch_prctl=158,- futex=202,98 sched_yield=24,124
    sched_getaffinity=204,123 getcpu=309,168 rt_sigaction=13,134 rt_sigprocmask=14,135 rt_sigreturn=15,139
    rt_sigpending=127,136 rt_sigtimedwait=128,137 sigaltstack=131,132 setitimer=38,103 getitimer=36,102
    alarm=37,- pause=34,- restart_syscall=219,128 nanosleep=35,101 clock_nanosleep=230,115
    clock_gettime=228,113 clock_getres=229,114 gettimeofday=96,169 time=201,- times=100,153 getrusage=98,165
    getpid=39,172 getppid=110,173 gettid=186,178 getuid=102,174 geteuid=107,175 getgid=104,176
    getegid=108,177 getgroups=115,158 getpgrp=111,- getpgid=121,155 getsid=124,156 getresuid=118,148
    getresgid=120,150 prlimit64=302,261 getrlimit=97,163 umask=95,166 uname=63,160 sysinfo=99,179
    getrandom=318,278
"""
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # place above, AUDIT_ARCH_*
NEWEST = 451  # behind it a call is one that this file does not know: the C library then takes another
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CLONE_THREAD = 0x10000
SETS_SIGNALS = (8, 10, 15, 1026, 1031)  # F_SETOWN F_SETSIG F_SETOWN_EX F_NOTIFY; F_SETPIPE_SZ takes memory
OF_DESCRIPTORS = (0x5421, 0x5450, 0x5451)  # of ioctl: FIONBIO FIONCLEX FIOCLEX
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446  # on every machine
CAPSET = {"x86_64": 126, "aarch64": 91}
READ_FILE, READ_DIR = 1 << 2, 1 << 3
RIGHTS = (13, 14, 15, 15, 16)  # of files that each version of Landlock knows, from the first on
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000  # SECCOMP_RET_*
EPERM, ENOSYS = 1, 38
LOAD, EQUAL, ABOVE, ANY_BIT, RETURN = 0x20, 0x15, 0x25, 0x45, 0x06  # BPF
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # places in struct seccomp_data


def find_missing() -> str:
    """What this machine lacks of what confines a program, or ""."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return f"Linux on {' or '.join(MACHINES)}"
    if _get_landlock_version() < 1:
        return "Landlock, which is in Linux since 5.13 and may be left out or forbidden (containers)"
    return "" if os.path.exists("/proc/sys/kernel/seccomp/actions_avail") else "seccomp with filters"


def confine(seconds: int, memory_bytes: int, written_bytes: int) -> None:
    """Give up all that a program must not have; raises OSError where the kernel does not do it."""
    limits = {"CPU": seconds, "AS": memory_bytes, "FSIZE": written_bytes, "NOFILE": 64}
    for name, limit in (limits | {"CORE": 0, "MEMLOCK": 0, "MSGQUEUE": 0}).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    library = ctypes.CDLL(None, use_errno=True)
    _demand(library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    _demand(library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _restrict_files(library)
    header, none = struct.pack("Ii", 0x20080522, 0), bytes(24)  # version 3, this process; no capability
    _demand(library.syscall(CAPSET[platform.machine()], header, none))
    instructions = b"".join(struct.pack("HBBI", *one) for one in make_filter(platform.machine()))
    kept = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(kept))
    _demand(library.prctl(PR_SET_SECCOMP, 2, program, 0, 0))


def make_filter(machine: str) -> list[tuple[int, int, int, int]]:
    """The instructions of a seccomp filter: operation, jumps if true and if not, operand.

    A process of another architecture is killed, so that a number means one call.
    """
    place, architecture = MACHINES[machine]
    numbers = {
        name: said.split(",")[place] for name, _, said in (row.partition("=") for row in CALLS.split())
    }
    known = {name: int(number) for name, number in numbers.items() if number != "-"}
    refuse = (RETURN, 0, 0, ERRNO | EPERM)
    allow = (RETURN, 0, 0, ALLOW)
    conditions = {
        "open": _find_flags(1),
        "openat": _find_flags(2),
        "clone": [(LOAD, 0, 0, ARGUMENTS), (ANY_BIT, 1, 0, CLONE_THREAD), refuse, allow],
        "fcntl": [
            (LOAD, 0, 0, ARGUMENTS + 8),
            *(one for command in SETS_SIGNALS for one in ((EQUAL, 0, 1, command), refuse)),
            allow,
        ],
        "ioctl": [
            (LOAD, 0, 0, ARGUMENTS + 8),
            *(one for command in OF_DESCRIPTORS for one in ((EQUAL, 0, 1, command), allow)),
            refuse,
        ],
        "prlimit64": [  # of this process, and where it asks only: a pointer to new limits is null
            *(
                one
                for at in (ARGUMENTS, ARGUMENTS + 16, ARGUMENTS + 20)
                for one in ((LOAD, 0, 0, at), (EQUAL, 1, 0, 0), refuse)
            ),
            allow,
        ],
    }
    found = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (ABOVE, 0, 1, NEWEST),
        (RETURN, 0, 0, ERRNO | ENOSYS),
        (EQUAL, 0, 1, 435),  # clone3, whose flags no filter sees: the C library then takes clone
        (RETURN, 0, 0, ERRNO | ENOSYS),
    ]
    for name, number in known.items():
        body = conditions.get(name, [allow])
        found += [(EQUAL, 0, len(body), number), *body]
    return [*found, refuse]


def _find_flags(argument: int) -> list[tuple[int, int, int, int]]:
    refuse, allow = (RETURN, 0, 0, ERRNO | EPERM), (RETURN, 0, 0, ALLOW)
    return [(LOAD, 0, 0, ARGUMENTS + 8 * argument), (ANY_BIT, 0, 1, WRITING), refuse, allow]


def _get_landlock_version() -> int:
    library = ctypes.CDLL(None, use_errno=True)
    return library.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)


def _restrict_files(library: ctypes.CDLL) -> None:
    """Only libraries may be read from here on, and no other process looked into."""
    version = _get_landlock_version()
    every = (1 << RIGHTS[min(version, len(RIGHTS)) - 1]) - 1
    rules = struct.pack("QQQ", every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)[
        : _get_size(version)
    ]
    ruleset = library.syscall(LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0)
    _demand(ruleset)
    for path in _list_libraries():
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
        rule = struct.pack("=Qi", rights, descriptor)
        _demand(library.syscall(LANDLOCK_ADD_RULE, ruleset, 1, rule, 0))
        os.close(descriptor)
    _demand(library.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _get_size(version: int) -> int:
    """Bytes of struct landlock_ruleset_attr: files, since version 4 the network, since 6 the scopes."""
    return 24 if version >= 6 else 16 if version >= 4 else 8


def _list_libraries() -> list[str]:
    ours = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), f"{sys.base_prefix}/lib"]
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"]
    return [*ours, *system, "/usr/share/zoneinfo", "/dev/urandom", "/dev/null"]


def _demand(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot be confined: {os.strerror(number)}")


def serve() -> None:
    """Run the program of standard input confined, and report on it.

    What reports success is the content of a descriptor that is read when the program has come to its end.
    """
    job = json.load(sys.stdin)
    token, report, longest = job[TOKEN], job[REPORT], LONGEST_REPORT
    read, write, leave = os.read, os.write, os._exit
    module = ModuleType("program")
    sys.modules["program"] = module
    confine(job["seconds"], job["memory_bytes"], job["written_bytes"])
    write(report, CONFINED)
    try:
        exec(compile(job["program"], "program", "exec"), module.__dict__)
        said = read(token, 64)
    except BaseException as error:
        try:
            said = f"{type(error).__name__}: {error}".encode(errors="replace")[:longest]
        except BaseException:
            said = b"an error that cannot be told"
    write(report, said)
    leave(0)


if __name__ == "__main__":
    serve()
