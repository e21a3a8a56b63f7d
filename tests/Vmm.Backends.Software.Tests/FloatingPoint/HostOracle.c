/* The host CPU as the oracle of the floating-point library: executes one x87, SSE or AVX instruction for each request.
 * Requests on stdin: { uint32 op, uint32 count } and count records of struct request. Answers: count of struct answer. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

struct request { uint8_t a[16], b[16], c[16]; uint32_t control, immediate; uint64_t pad; };
struct answer { uint8_t first[16], second[16]; uint32_t flags, faulted; uint64_t pad; };

static sigjmp_buf resume_point;
static volatile uint32_t fault_mxcsr;

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number; (void)info;
    fault_mxcsr = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
    siglongjmp(resume_point, 1);
}

#define X87_HEAD "fninit\n\tfldt %[b]\n\tfldt %[a]\n\tfldcw %[cw]\n\t"
#define X87_TAIL "\n\tfnstsw %[sw]\n\tfnclex\n\tfldcw %[dcw]\n\tfstpt %[r0]\n\tfstpt %[r1]\n\tfninit"
#define X87(n, ins) case n: __asm__ volatile(X87_HEAD ins X87_TAIL \
    : [sw] "=m"(sw), [r0] "=m"(r->first), [r1] "=m"(r->second) \
    : [a] "m"(q->a), [b] "m"(q->b), [c] "m"(q->c), [cw] "m"(cw), [dcw] "m"(dcw) : "memory"); r->flags = sw; break;
#define X87_STORE(n, ins) case n: memset(r->first, 0xAA, 16); __asm__ volatile(X87_HEAD ins \
    "\n\tfnstsw %[sw]\n\tfnclex\n\tfninit" : [sw] "=m"(sw), [r0] "+m"(r->first) \
    : [a] "m"(q->a), [b] "m"(q->b), [cw] "m"(cw) : "memory"); r->flags = sw; break;
#define X87_LOAD(n, ins) case n: __asm__ volatile("fninit\n\tfldcw %[cw]\n\t" ins \
    "\n\tfnstsw %[sw]\n\tfnclex\n\tfldcw %[dcw]\n\tfstpt %[r0]\n\tfninit" : [sw] "=m"(sw), [r0] "=m"(r->first) \
    : [a] "m"(q->a), [cw] "m"(cw), [dcw] "m"(dcw) : "memory"); r->flags = sw; break;

static void run_x87(uint32_t op, const struct request *q, struct answer *r)
{
    uint16_t cw = (uint16_t)q->control, dcw = 0x37F, sw = 0;
    switch (op)
    {
        X87(0, "fadd %%st(1), %%st")
        X87(1, "fsub %%st(1), %%st")
        X87(2, "fmul %%st(1), %%st")
        X87(3, "fdiv %%st(1), %%st")
        X87(4, "fsqrt")
        X87(5, "fprem")
        X87(6, "fprem1")
        X87(7, "fscale")
        X87(8, "fxtract")
        X87(9, "frndint")
        X87(10, "fcom %%st(1)")
        X87(11, "fucom %%st(1)")
        X87_LOAD(12, "flds %[a]")
        X87_LOAD(13, "fldl %[a]")
        X87_STORE(14, "fsts %[r0]")
        X87_STORE(15, "fstl %[r0]")
        X87_STORE(16, "fistps %[r0]")
        X87_STORE(17, "fistpl %[r0]")
        X87_STORE(18, "fistpll %[r0]")
        X87_STORE(19, "fisttps %[r0]")
        X87_STORE(20, "fisttpl %[r0]")
        X87_STORE(21, "fisttpll %[r0]")
        X87_LOAD(22, "fbld %[a]")
        X87_STORE(23, "fbstp %[r0]")
        X87(24, "f2xm1")
        X87(25, "fyl2x")
        X87(26, "fyl2xp1")
        X87(27, "fsin")
        X87(28, "fcos")
        X87(29, "fsincos")
        X87(30, "fptan")
        X87(31, "fpatan")
        X87_LOAD(32, "fldpi")
        X87_LOAD(33, "fldl2t")
        X87_LOAD(34, "fldl2e")
        X87_LOAD(35, "fldlg2")
        X87_LOAD(36, "fldln2")
        X87(37, "fxam")
        X87(40, "fadds %[c]")
        X87(41, "faddl %[c]")
        X87(42, "fmuls %[c]")
        X87(43, "fdivrl %[c]")
        X87(44, "fcoml %[c]")
        default: abort();
    }
}

#define SSE(ins, value, ...) __asm__ volatile("ldmxcsr %[m]\n\t" ins "\n\tstmxcsr %[o]\n\tldmxcsr %[d]" \
    : value, [o] "=m"(out) : __VA_ARGS__, [m] "m"(m), [d] "m"(d) : "memory", "cc")
#define BINARY(n, ins) case n: SSE(ins " %[b], %[a]", [a] "+x"(a), [b] "x"(b)); break;
#define UNARY(n, ins) case n: SSE(ins " %[b], %[a]", [a] "+x"(a), [b] "x"(a)); break;
#define TERNARY(n, ins) case n: SSE(ins " %[c], %[b], %[a]", [a] "+x"(a), [b] "x"(b), [c] "x"(c)); break;
#define TO_INT(n, ins) case n: i = 0; SSE(ins, [i] "+r"(i), [b] "x"(a)); memcpy(&a, &i, 8); break;
#define FLAGS(n, ins) case n: i = 0; SSE(ins " %[b], %[a]\n\tpushfq\n\tpop %[i]", [i] "+r"(i), [a] "x"(a), [b] "x"(b)); \
    i &= 0x45; memcpy(&a, &i, 8); break;
#define IMM1(ins, k) case k: SSE(ins " $" #k ", %[b], %[a]", [a] "+x"(a), [b] "x"(a)); break;
#define IMM2(ins, k) case k: SSE(ins " $" #k ", %[b], %[a], %[a]", [a] "+x"(a), [b] "x"(b)); break;
#define EIGHT(f, ins, p) f(ins, p##0) f(ins, p##1) f(ins, p##2) f(ins, p##3) f(ins, p##4) f(ins, p##5) f(ins, p##6) f(ins, p##7)
#define FORMATS(n, f, ins) f(n, ins "ss") f((n) + 1, ins "sd")

typedef double v2 __attribute__((vector_size(16)));

static void run_sse(uint32_t op, const struct request *q, struct answer *r)
{
    v2 a, b, c;
    uint64_t i;
    uint32_t m = q->control, d = 0x1F80, out = 0;
    memcpy(&a, q->a, 16); memcpy(&b, q->b, 16); memcpy(&c, q->c, 16);
    if (sigsetjmp(resume_point, 0))
    {
        r->faulted = 1;
        r->flags = fault_mxcsr & 0x3F;
        return;
    }
    switch (op)
    {
        FORMATS(100, BINARY, "add")
        FORMATS(102, BINARY, "sub")
        FORMATS(104, BINARY, "mul")
        FORMATS(106, BINARY, "div")
        FORMATS(108, UNARY, "sqrt")
        FORMATS(110, BINARY, "min")
        FORMATS(112, BINARY, "max")
        FORMATS(114, TERNARY, "vfmadd213")
        FORMATS(116, TERNARY, "vfmsub213")
        FORMATS(118, TERNARY, "vfnmadd213")
        FORMATS(120, TERNARY, "vfnmsub213")
        FORMATS(122, TERNARY, "vfmadd132")
        FORMATS(124, TERNARY, "vfmadd231")
        FLAGS(126, "comiss") FLAGS(127, "comisd") FLAGS(128, "ucomiss") FLAGS(129, "ucomisd")
        UNARY(130, "cvtss2sd") UNARY(131, "cvtsd2ss")
        TO_INT(132, "cvtss2sil %[b], %k[i]") TO_INT(133, "cvtsd2sil %[b], %k[i]")
        TO_INT(134, "cvtss2siq %[b], %[i]") TO_INT(135, "cvtsd2siq %[b], %[i]")
        TO_INT(136, "cvttss2sil %[b], %k[i]") TO_INT(137, "cvttsd2sil %[b], %k[i]")
        TO_INT(138, "cvttss2siq %[b], %[i]") TO_INT(139, "cvttsd2siq %[b], %[i]")
        case 140: memcpy(&i, q->a, 8); SSE("cvtsi2ssq %[b], %[a]", [a] "+x"(a), [b] "r"(i)); break;
        case 141: memcpy(&i, q->a, 8); SSE("cvtsi2sdq %[b], %[a]", [a] "+x"(a), [b] "r"(i)); break;
        UNARY(142, "vcvtph2ps")
        UNARY(143, "rcpss") UNARY(144, "rsqrtss")
        case 150: switch (q->immediate)
        {
            EIGHT(IMM2, "vcmpss", 0x) EIGHT(IMM2, "vcmpss", 01) EIGHT(IMM2, "vcmpss", 02) EIGHT(IMM2, "vcmpss", 03)
            default: abort();
        } break;
        case 151: switch (q->immediate)
        {
            EIGHT(IMM2, "vcmpsd", 0x) EIGHT(IMM2, "vcmpsd", 01) EIGHT(IMM2, "vcmpsd", 02) EIGHT(IMM2, "vcmpsd", 03)
            default: abort();
        } break;
        case 152: switch (q->immediate) { EIGHT(IMM1, "roundss", 0x) EIGHT(IMM1, "roundss", 01) default: abort(); } break;
        case 153: switch (q->immediate) { EIGHT(IMM1, "roundsd", 0x) EIGHT(IMM1, "roundsd", 01) default: abort(); } break;
        case 154: switch (q->immediate) { EIGHT(IMM1, "vcvtps2ph", 0x) default: abort(); } break;
        default: abort();
    }
    memcpy(r->first, &a, 16);
    r->flags = out & 0x3F;
}

int main(void)
{
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigaction(SIGFPE, &action, 0);
    uint32_t header[2];
    while (fread(header, sizeof header, 1, stdin) == 1)
    {
        struct request *requests = malloc(sizeof *requests * header[1]);
        struct answer *answers = calloc(header[1], sizeof *answers);
        if (!requests || !answers || fread(requests, sizeof *requests, header[1], stdin) != header[1]) { return 1; }
        for (uint32_t k = 0; k < header[1]; k++)
        {
            if (header[0] < 100) { run_x87(header[0], &requests[k], &answers[k]); }
            else { run_sse(header[0], &requests[k], &answers[k]); }
        }
        fwrite(answers, sizeof *answers, header[1], stdout);
        fflush(stdout);
        free(requests);
        free(answers);
    }
    return 0;
}
