// A small JIT compiler for a guest: it makes random functions, runs them, patches their constants and operations in place, makes them
// anew where old ones were, moves their pages, and checks every result against what it computes itself. Without a C library.
// "jit r1000" does a thousand rounds, "jit 60" runs for a minute.
#include <stdint.h>

enum { SLOTS = 96, SLOT = 192, PAGES = 6, OPERATIONS = 12, EXECUTABLE = 7 };

struct operation { uint8_t kind, place; uint32_t value; };
struct function { struct operation operations[OPERATIONS]; int count; };
struct registers { uint32_t eax, edi, esi; };

static uint8_t *arena;
static struct function functions[SLOTS];
static uint32_t seed = 1;

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

static void say(const char *text)
{
    long length = 0;
    while (text[length])
        length++;
    call(1, 1, (long)text, length, 0, 0, 0);
}

static void say_number(uint64_t number)
{
    char text[24];
    int at = sizeof text - 1;
    text[at] = 0;
    do
        text[--at] = '0' + number % 10;
    while (number /= 10);
    say(text + at);
}

static void stop(int code)
{
    call(231, code, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static uint32_t any(void)
{
    return draw(65536) << 16 | draw(65536);
}

static uint8_t *code_of(int slot)
{
    return arena + 40 + slot * SLOT;
}

static void put(uint8_t *at, uint32_t value)
{
    __builtin_memcpy(at, &value, 4);
}

// Kinds 0 to 2 are EAX op imm32, whose opcodes differ in one byte; 3 multiplies; 4 rotates; 5 and 6 take an argument; 7 calls a leaf.
static const uint8_t plain[] = { 0x05, 0x2D, 0x35 };

// The first third of the slots are leaves, which the others call.
static void make(int slot)
{
    struct function *f = &functions[slot];
    uint8_t *start = code_of(slot), *at = start;
    f->count = 1 + draw(OPERATIONS);
    *at++ = 0x89; *at++ = 0xF8; // mov eax, edi
    for (int i = 0; i < f->count; i++) {
        struct operation *o = &f->operations[i];
        o->kind = draw(slot < SLOTS / 3 ? 7 : 8);
        o->value = o->kind == 4 ? 1 + draw(31) : o->kind == 7 ? draw(SLOTS / 3) : any();
        switch (o->kind) {
        case 0: case 1: case 2: *at++ = plain[o->kind]; break;
        case 3: *at++ = 0x69; *at++ = 0xC0; break; // imul eax, eax, imm32
        case 4: *at++ = 0xC1; *at++ = 0xC0; *at++ = o->value; break; // rol eax, imm8
        case 5: *at++ = 0x01; *at++ = 0xF0; break; // add eax, esi
        case 6: *at++ = 0x31; *at++ = 0xF8; break; // xor eax, edi
        case 7: *at++ = 0x89; *at++ = 0xC7; *at++ = 0xE8; break; // mov edi, eax; call
        }
        o->place = at - start;
        if (o->kind <= 3) {
            put(at, o->value);
            at += 4;
        } else if (o->kind == 7) {
            put(at, (uint32_t)(code_of(o->value) - (at + 4)));
            at += 4;
        }
    }
    *at = 0xC3;
}

static void compute(int slot, struct registers *r)
{
    struct function *f = &functions[slot];
    r->eax = r->edi;
    for (int i = 0; i < f->count; i++) {
        struct operation *o = &f->operations[i];
        switch (o->kind) {
        case 0: r->eax += o->value; break;
        case 1: r->eax -= o->value; break;
        case 2: r->eax ^= o->value; break;
        case 3: r->eax *= o->value; break;
        case 4: r->eax = r->eax << o->value | r->eax >> (32 - o->value); break;
        case 5: r->eax += r->esi; break;
        case 6: r->eax ^= r->edi; break;
        case 7: r->edi = r->eax; compute(o->value, r); break;
        }
    }
}

static void patch(int slot)
{
    struct operation *o = &functions[slot].operations[draw(functions[slot].count)];
    uint8_t *at = code_of(slot) + o->place;
    if (o->kind > 3)
        return;
    if (o->kind < 3 && draw(2)) {
        o->kind = draw(3);
        at[-1] = plain[o->kind];
    } else {
        o->value = any();
        put(at, o->value);
    }
}

static void check(int slot)
{
    for (int i = draw(40); i >= 0; i--) {
        struct registers r = { 0, any(), any() };
        uint32_t first = r.edi, second = r.esi;
        compute(slot, &r);
        __asm__ volatile("" : : : "memory");
        uint32_t got = ((uint32_t (*)(uint32_t, uint32_t))code_of(slot))(first, second);
        if (got != r.eax) {
            say("jit: wrong in function ");
            say_number(slot);
            say("\n");
            stop(1);
        }
        // Data beside the code.
        ++*(volatile uint32_t *)(code_of(slot) + SLOT - 44);
    }
}

static void map(void)
{
    arena = (uint8_t *)call(9, (long)arena, PAGES * 4096, EXECUTABLE, arena ? 0x32 : 0x22, -1, 0);
    if ((uint64_t)arena > -4096ull)
        stop(2);
    for (int i = 0; i < SLOTS; i++)
        make(i);
}

static int64_t seconds(void)
{
    int64_t time[2];
    call(228, 1, (long)time, 0, 0, 0, 0);
    return time[0];
}

__attribute__((used)) static void run(long *stack)
{
    const char *argument = stack[0] > 1 ? (const char *)stack[2] : "1";
    int by_rounds = *argument == 'r';
    int64_t limit = 0;
    for (argument += by_rounds; *argument; argument++)
        limit = limit * 10 + *argument - '0';
    int64_t start = seconds();
    uint64_t rounds = 0;
    map();
    while (by_rounds ? rounds < (uint64_t)limit : (rounds & 255) || seconds() - start < limit) {
        int slot = draw(SLOTS);
        uint32_t what = draw(10);
        if (what < 4)
            make(slot);
        else if (what < 9)
            patch(slot);
        if ((rounds & 63) == 63 && call(10, (long)arena, PAGES * 4096, 5, 0, 0, 0))
            stop(3);
        if ((rounds & 63) == 63) {
            // Not writable for a moment: only a function that stores nothing beside it.
            struct registers r = { 0, any(), any() };
            uint32_t first = r.edi, second = r.esi;
            compute(slot, &r);
            if (((uint32_t (*)(uint32_t, uint32_t))code_of(slot))(first, second) != r.eax)
                stop(4);
            if (call(10, (long)arena, PAGES * 4096, EXECUTABLE, 0, 0, 0))
                stop(5);
        }
        check(slot);
        if ((rounds & 511) == 511)
            map();
        rounds++;
    }
    say("jit: ");
    say_number(rounds);
    say(" rounds right\n");
    stop(0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall run\n");
