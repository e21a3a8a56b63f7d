// What a C program needs for the same work: the other side of the KVM benchmarks. It takes the guest's image as its argument and one command
// a line, and answers each with one line of numbers. Nanoseconds; "cpu" is CPU time of the thread, "wall" what passed.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { RAM = 64 << 20, BASE = 0x10000, COUNTER = 0x20000, MODES = 7 };
enum { PORTS, PORTS_USER, MMIO, MMIO_USER, SPIN, HALT, COMPUTE };

struct vm { int vm, vcpu, signal_thread; struct kvm_run *run; unsigned char *ram; };

static struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 entries[256]; } cpuid;
static unsigned char image[1 << 16];
static long image_size;
static int run_size;

static long now(clockid_t clock) { struct timespec t; clock_gettime(clock, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
static long cpu(void) { return now(CLOCK_THREAD_CPUTIME_ID); }
static long wall(void) { return now(CLOCK_MONOTONIC); }

static int must(int result, const char *what)
{
    if (result >= 0) return result;
    perror(what);
    exit(1);
}

static void enable(int vm, int cap, unsigned long long argument)
{
    struct kvm_enable_cap c = { .cap = cap, .args = { argument } };
    must(ioctl(vm, KVM_ENABLE_CAP, &c), "KVM_ENABLE_CAP");
}

static struct kvm_segment segment(int selector, int type, int l)
{
    return (struct kvm_segment){ .base = 0, .limit = 0xFFFFFFFF, .selector = selector, .type = type, .present = 1, .s = 1, .l = l, .db = !l, .g = 1 };
}

// A VM with a split irqchip, one vCPU and 64 MiB, all of whose state is set, ready to run the guest.
static void create(struct vm *v, int mode, unsigned long count)
{
    int device = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    v->vm = must(ioctl(device, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    close(device);
    unsigned long long identity = 0xFFFBC000;
    must(ioctl(v->vm, KVM_SET_TSS_ADDR, 0xFFFBD000), "KVM_SET_TSS_ADDR");
    must(ioctl(v->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity), "KVM_SET_IDENTITY_MAP_ADDR");
    enable(v->vm, KVM_CAP_SPLIT_IRQCHIP, 24);
    enable(v->vm, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS);
    enable(v->vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER);
    v->ram = mmap(0, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    memcpy(v->ram + BASE, image, image_size);
    struct kvm_userspace_memory_region slot = { .memory_size = RAM, .userspace_addr = (unsigned long)v->ram };
    must(ioctl(v->vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
    v->vcpu = must(ioctl(v->vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    v->run = mmap(0, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->vcpu, 0);
    must(ioctl(v->vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");

    struct kvm_sregs s;
    must(ioctl(v->vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
    s.cr0 = 0x80000033, s.cr3 = BASE, s.cr4 = 0x620, s.efer = 0x500;
    s.cs = segment(8, 11, 1);
    s.ds = s.es = s.fs = s.gs = s.ss = segment(16, 3, 0);
    must(ioctl(v->vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
    struct kvm_regs r = { .rip = BASE + 0x4000, .rflags = 2, .rdi = mode, .rsi = count };
    must(ioctl(v->vcpu, KVM_SET_REGS, &r), "KVM_SET_REGS");
    struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = 1 } } };
    must(ioctl(v->vcpu, KVM_SET_XCRS, &xcrs), "KVM_SET_XCRS");
    static const struct kvm_xsave xsave;
    must(ioctl(v->vcpu, KVM_SET_XSAVE, &xsave), "KVM_SET_XSAVE");
    struct kvm_lapic_state apic;
    must(ioctl(v->vcpu, KVM_GET_LAPIC, &apic), "KVM_GET_LAPIC");
    must(ioctl(v->vcpu, KVM_SET_LAPIC, &apic), "KVM_SET_LAPIC");
    struct kvm_vcpu_events events = { 0 };
    must(ioctl(v->vcpu, KVM_SET_VCPU_EVENTS, &events), "KVM_SET_VCPU_EVENTS");
    struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
    must(ioctl(v->vcpu, KVM_SET_MP_STATE, &runnable), "KVM_SET_MP_STATE");
    struct kvm_debugregs debug = { .dr6 = 0xFFFF0FF0, .dr7 = 0x400 };
    must(ioctl(v->vcpu, KVM_SET_DEBUGREGS, &debug), "KVM_SET_DEBUGREGS");
}

static void destroy(struct vm *v)
{
    munmap(v->run, run_size);
    close(v->vcpu);
    close(v->vm);
    munmap(v->ram, RAM);
}

static volatile unsigned long taken;

// One exit, served: where it went to is looked at, its data is taken.
static int step(struct vm *v)
{
    struct kvm_run *run = v->run;
    if (ioctl(v->vcpu, KVM_RUN, 0) != 0) return -1;
    switch (run->exit_reason)
    {
        case KVM_EXIT_IO:
            taken = *(unsigned *)((char *)run + run->io.data_offset);
            return run->io.port;
        case KVM_EXIT_MMIO:
            taken = *(unsigned *)run->mmio.data;
            return 0;
        default:
            fprintf(stderr, "exit %u, suberror %u\n", run->exit_reason, run->internal.suberror);
            exit(1);
    }
}

static struct vm *cached(int mode)
{
    static struct vm machines[MODES];
    struct vm *v = &machines[mode];
    if (v->ram == 0)
    {
        create(v, mode, 0);
        step(v);
    }

    return v;
}

static void exits(int mode, long count)
{
    struct vm *v = cached(mode);
    long start = cpu();
    for (long i = 0; i < count; i++) step(v);
    printf("%ld\n", (cpu() - start) / count);
}

// The kernel's work for a new VM grows with the mappings of its process: this one gets some more, of two sorts so that they do not merge.
static void fill(long mappings)
{
    static unsigned char *filling;
    static long filled;
    if (mappings == filled) return;
    if (filled != 0) munmap(filling, filled * 4096);
    filled = mappings;
    if (filled == 0) return;
    filling = mmap(0, filled * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (long i = 0; i < filled; i += 2) must(mprotect(filling + i * 4096, 4096, PROT_READ | PROT_WRITE), "mprotect");
}

// Of one VM: to its first exit, and to its end.
static void life(long mappings)
{
    struct vm v;
    fill(mappings);
    long c0 = cpu(), w0 = wall();
    create(&v, PORTS, 0);
    step(&v);
    long c1 = cpu(), w1 = wall();
    destroy(&v);
    long c2 = cpu(), w2 = wall();
    printf("%ld %ld %ld %ld\n", c1 - c0, w1 - w0, c2 - c1, w2 - w1);
}

static void nothing(int signal) { (void)signal; }

// A vCPU's thread and its master pass this word to and fro.
static atomic_int turn;
static atomic_long stopped;

static void *run_until_kicked(void *argument)
{
    struct vm *v = argument;
    v->signal_thread = syscall(SYS_gettid);
    for (;;)
    {
        while (atomic_load(&turn) == 0) { }
        if (atomic_load(&turn) == 2) return 0;
        while (step(v) >= 0) { }
        atomic_store(&stopped, wall());
        v->run->immediate_exit = 0;
        atomic_store(&turn, 0);
    }
}

static int compare(const void *a, const void *b) { long x = *(const long *)a, y = *(const long *)b; return (x > y) - (x < y); }

static void median(long *samples, long count)
{
    qsort(samples, count, sizeof *samples, compare);
    printf("%ld\n", samples[count / 2]);
}

static void await_progress(struct vm *v)
{
    volatile unsigned long *counter = (unsigned long *)(v->ram + COUNTER);
    for (unsigned long seen = *counter; *counter == seen;) { }
}

static void kick(long count)
{
    struct vm spinning;
    create(&spinning, SPIN, 0);
    pthread_t thread;
    turn = 0;
    pthread_create(&thread, 0, run_until_kicked, &spinning);
    long *samples = calloc(count, sizeof *samples);
    for (long i = 0; i < count; i++)
    {
        atomic_store(&turn, 1);
        await_progress(&spinning);
        long start = wall();
        spinning.run->immediate_exit = 1;
        syscall(SYS_tgkill, getpid(), spinning.signal_thread, SIGRTMAX);
        while (atomic_load(&turn) != 0) { }
        samples[i] = stopped - start;
    }

    atomic_store(&turn, 2);
    pthread_join(thread, 0);
    destroy(&spinning);
    median(samples, count);
    free(samples);
}

static atomic_long handled, halts;

static void *run_handlers(void *argument)
{
    for (;;)
    {
        int port = step(argument);
        if (port < 0) return 0;
        if (port == 0x502) atomic_store(&handled, wall());
        else atomic_fetch_add(&halts, 1);
    }
}

// An interrupt by message, until its handler's first exit is served.
static void interrupt(int mode, long count)
{
    struct vm v;
    create(&v, mode, 0);
    pthread_t thread;
    atomic_store(&halts, 0);
    struct kvm_msi msi = { .address_lo = 0xFEE00000, .data = 0x40 };
    long *samples = calloc(count, sizeof *samples);
    pthread_create(&thread, 0, run_handlers, &v);
    for (long i = 0; i < count; i++)
    {
        if (mode == HALT)
        {
            while (atomic_load(&halts) <= i) { }
            for (long until = wall() + 100000; wall() < until;) { }
        }
        else
        {
            await_progress(&v);
        }

        atomic_store(&handled, 0);
        long start = wall();
        must(ioctl(v.vm, KVM_SIGNAL_MSI, &msi), "KVM_SIGNAL_MSI");
        while (atomic_load(&handled) == 0) { }
        samples[i] = handled - start;
    }

    v.run->immediate_exit = 1;
    pthread_kill(thread, SIGRTMAX);
    pthread_join(thread, 0);
    destroy(&v);
    median(samples, count);
    free(samples);
}

static pthread_barrier_t all;
static struct vm *vms;
static long threads, machines;

static void *live(void *argument)
{
    long first = (long)argument;
    pthread_barrier_wait(&all);
    for (long i = first; i < machines; i += threads)
    {
        create(&vms[i], PORTS, 0);
        step(&vms[i]);
    }

    pthread_barrier_wait(&all);
    pthread_barrier_wait(&all);
    for (long i = first; i < machines; i += threads) destroy(&vms[i]);
    pthread_barrier_wait(&all);
    return 0;
}

// Many VMs, all alive at one time, made by some threads together.
static void many(long by, long count)
{
    threads = by, machines = count;
    vms = calloc(count, sizeof *vms);
    pthread_t started[by];
    pthread_barrier_init(&all, 0, by + 1);
    for (long i = 0; i < by; i++) pthread_create(&started[i], 0, live, (void *)i);
    pthread_barrier_wait(&all);
    long c0 = now(CLOCK_PROCESS_CPUTIME_ID), w0 = wall();
    pthread_barrier_wait(&all);
    long c1 = now(CLOCK_PROCESS_CPUTIME_ID), w1 = wall();
    pthread_barrier_wait(&all);
    pthread_barrier_wait(&all);
    long c2 = now(CLOCK_PROCESS_CPUTIME_ID), w2 = wall();
    for (long i = 0; i < by; i++) pthread_join(started[i], 0);
    pthread_barrier_destroy(&all);
    free(vms);
    printf("%ld %ld %ld %ld\n", c1 - c0, w1 - w0, c2 - c1, w2 - w1);
}

// The guest's own loop, called here from the same bytes.
static void native(unsigned long count)
{
    static unsigned (*loop)(unsigned long, void *);
    static void *buffer;
    if (loop == 0)
    {
        unsigned char *code = mmap(0, sizeof image, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(code, image, sizeof image);
        loop = (unsigned (*)(unsigned long, void *))(code + 0x4008);
        buffer = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }

    long start = cpu();
    unsigned result = loop(count, buffer);
    printf("%ld %u\n", cpu() - start, result);
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : 0;
    if (file == 0) return 2;
    image_size = fread(image, 1, sizeof image, file);
    fclose(file);
    int device = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    run_size = must(ioctl(device, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    cpuid.head.nent = 256;
    must(ioctl(device, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
    close(device);
    struct sigaction action = { .sa_handler = nothing };
    sigaction(SIGRTMAX, &action, 0);
    char name[16];
    long a, b;
    while (scanf("%15s %ld %ld", name, &a, &b) == 3)
    {
        if (strcmp(name, "exits") == 0) exits(a, b);
        else if (strcmp(name, "life") == 0) life(b);
        else if (strcmp(name, "kick") == 0) kick(b);
        else if (strcmp(name, "interrupt") == 0) interrupt(a, b);
        else if (strcmp(name, "many") == 0) many(a, b);
        else if (strcmp(name, "native") == 0) native(b);
        else return 2;
        fflush(stdout);
    }

    return 0;
}
