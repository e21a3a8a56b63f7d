# The guest of the KVM benchmarks, one image for the C program and for Vmm. Loaded at 0x10000 and entered at 0x14000 in 64-bit mode,
# ring 0, with RDI = what to do (the order of `work`), RSI = a count, CR3 = 0x10000. Memory above 64 MiB is MMIO, but for the local APIC.
    .code64
    .text
    .globl _start

    .set BASE, 0x10000
    .set MMIO, 0x10000000
    .set APIC, 0xFEE00000
    .set ROUND_TRIP, 0x500                  # ports
    .set INTERRUPTED, 0x502
    .set HALTS, 0x504
    .set RESULT, 0x506
    .set COUNTER, 0x20000                   # counts while user code spins
    .set BUFFER, 0x30000

# Tables: the first and the fourth GiB, mapped to themselves by pages of 2 MiB, open to user code.
    .quad BASE + 0x1007
    .org 0x1000
    .quad BASE + 0x2007, 0, 0, BASE + 0x3007
    .org 0x2000
    .set i, 0
    .rept 512
    .quad i * 0x200000 + 0x87
    .set i, i + 1
    .endr
    .org 0x3000 + 0x1F7 * 8
    .quad APIC + 0x97

    .org 0x4000
_start:
    jmp start
    .org 0x4008                             # the host calls this itself, to compare: RDI = count, RSI = 64 KiB
    jmp compute

start:
    lgdt gdtr
    mov $0x28, %eax
    ltr %ax
    lidt idtr
    mov $APIC + 0xF0, %eax
    movl $0x1FF, (%rax)
    mov $0x30000, %esp
    mov $ROUND_TRIP, %edx
    mov $MMIO, %ebx
    mov $COUNTER, %ecx
    lea work(,%rdi,8), %rax
    testb $1, 4(%rax)
    mov (%rax), %eax
    jz 1f
    pushq $0x1B                             # to ring 3, interrupts on
    pushq $0x2F000
    pushq $0x202
    pushq $0x23
    push %rax
    iretq
1:  jmp *%rax

    .balign 8
work:                                       # where, and whether in ring 3
    .long ports, 0
    .long ports, 1
    .long mmio, 0
    .long mmio, 1
    .long spin, 1
    .long halt, 0
    .long computes, 1

ports:
    out %al, %dx
    jmp ports

mmio:
    mov %eax, (%rbx)
    jmp mmio

spin:
    incq (%rcx)
    jmp spin

halt:
    mov $HALTS, %edx
    out %al, %dx
    sti
    hlt
    cli
    jmp halt

computes:
    mov %rsi, %rbp
2:  mov %rbp, %rdi
    mov $BUFFER, %esi
    call compute
    mov $RESULT, %edx
    out %eax, %dx
    jmp 2b

# Integer arithmetic, loads and stores, branches that are hard to guess: a xorshift generator that swaps words of a buffer.
    .balign 64
compute:
    mov $0x9E3779B97F4A7C15, %rax
    xor %r8d, %r8d
3:  mov %rax, %rcx
    shl $13, %rcx
    xor %rcx, %rax
    mov %rax, %rcx
    shr $7, %rcx
    xor %rcx, %rax
    mov %rax, %rcx
    shl $17, %rcx
    xor %rcx, %rax
    movzwl %ax, %ecx
    and $0xFFF8, %ecx
    mov (%rsi,%rcx), %r9
    mov %rax, (%rsi,%rcx)
    test $0x10000, %eax
    jz 4f
    imul %rax, %r9
4:  add %r9, %r8
    dec %rdi
    jnz 3b
    mov %r8, %rax
    shr $32, %rax
    xor %r8d, %eax
    ret

    .org 0x5000
interrupt:
    push %rax
    push %rdx
    mov $INTERRUPTED, %edx
    out %al, %dx
    mov $APIC + 0xB0, %eax
    movl $0, (%rax)
    pop %rdx
    pop %rax
    iretq

    .balign 8
gdt:
    .quad 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF
    .word 0x16F, 0x5800                     # the TSS, at BASE + 0x5800
    .byte 0x01, 0x89, 0, 0
    .quad 0
gdtr:
    .word 0x37
    .quad gdt
idtr:
    .word 0x41 * 16 - 1
    .quad idt

    .balign 8
idt:                                        # vector 0x40 alone
    .fill 0x40 * 2, 8, 0
    .word 0x5000, 8
    .byte 0, 0x8E
    .word 1
    .quad 0

    .org 0x5800
    .long 0
    .quad 0x2E000                           # RSP0
    .org 0x5866
    .word 0x68                              # ring 3 may use ports up to 0x7FF
    .org 0x5800 + 0x68 + 0x100
    .quad -1
