using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.TestSupport.Oracle;

/// <summary>
/// Emits the machine code around a run: entry, exit and the signal handler. The handler is machine code because managed code
/// cannot run in a signal, and because the guest's RSP may be anything. It only records the fault and redirects the interrupted
/// context to the exit stub: sigreturn then restores every register but RSP, which the handler stores itself, and the one exit path stores them.
/// </summary>
internal sealed class OracleStub
{
    private const int SysRtSigaction = 13, SysRtSigprocmask = 14, SigSetMask = 2, SignalSetBytes = 8;
    private const int XsaveMask = 7;

    // struct ucontext of x86-64 Linux: gregs begin at 40.
    private const int UcRsp = 160, UcRip = 168, UcEfl = 176, UcErr = 192, UcTrapNumber = 200, UcCr2 = 216;

    private static readonly AssemblerRegister64[] s_gprs =
        [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];

    private static readonly AssemblerRegister64[] s_calleeSaved = [rbx, rbp, r12, r13, r14, r15];

    private readonly OracleLayout _at;

    private OracleStub(OracleLayout layout) => _at = layout;

    public byte[] Bytes { get; private set; } = [];

    public ulong Enter { get; private set; }

    public ulong Exit { get; private set; }

    public ulong Handler { get; private set; }

    public static OracleStub Emit(OracleLayout layout)
    {
        var stub = new OracleStub(layout);
        var a = new Assembler(64);
        Label enter = a.CreateLabel(), exit = a.CreateLabel(), exitOfFault = a.CreateLabel(), handler = a.CreateLabel();
        a.Label(ref enter);
        stub.EmitEnter(a);
        a.Label(ref exit);
        a.mov(Q(layout.Out + (8 * GprFile.Rsp)), rsp);
        a.Label(ref exitOfFault);
        stub.EmitExit(a);
        a.Label(ref handler);
        stub.EmitHandler(a, exitOfFault);
        using var stream = new MemoryStream();
        AssemblerResult result = a.Assemble(new StreamCodeWriter(stream), layout.Stub, BlockEncoderOptions.ReturnNewInstructionOffsets);
        stub.Enter = result.GetLabelRIP(enter);
        stub.Exit = result.GetLabelRIP(exit);
        stub.Handler = result.GetLabelRIP(handler);
        stub.Bytes = stream.ToArray();
        return stub;
    }

    private static AssemblerMemoryOperand Q(ulong address) => __qword_ptr[(long)address];

    private static AssemblerMemoryOperand D(ulong address) => __dword_ptr[(long)address];

    private void EmitEnter(Assembler a)
    {
        foreach (AssemblerRegister64 r in s_calleeSaved)
        {
            a.push(r);
        }

        a.mov(Q(_at.HostRsp), rsp);
        a.fnstcw(__word_ptr[(long)_at.HostFcw]);
        a.stmxcsr(D(_at.HostMxcsr));
        // The runtime's activation signal is not on the alternate stack: it must not meet the guest's RSP.
        SetSignalMask(a, _at.BlockedSignals, _at.HostSignals);
        a.mov(rax, Q(_at.In + OracleState.RipOffset));
        a.mov(Q(_at.IretFrame), rax);
        a.mov(eax, cs);
        a.mov(Q(_at.IretFrame + 8), rax);
        a.mov(rax, Q(_at.In + OracleState.RflagsOffset));
        a.mov(Q(_at.IretFrame + 16), rax);
        a.mov(rax, Q(_at.In + (8 * GprFile.Rsp)));
        a.mov(Q(_at.IretFrame + 24), rax);
        a.mov(eax, ss);
        a.mov(Q(_at.IretFrame + 32), rax);
        a.mov(D(_at.Faulted), 0);
        a.mov(D(_at.Running), 1);
        a.mov(eax, XsaveMask);
        a.xor(edx, edx);
        a.xrstor64(__[(long)(_at.In + OracleState.FpuOffset)]);
        for (int i = 0; i < s_gprs.Length; i++)
        {
            if (i != GprFile.Rsp)
            {
                a.mov(s_gprs[i], Q(_at.In + (ulong)(8 * i)));
            }
        }

        a.mov(esp, (uint)_at.IretFrame);
        // IRETQ serialises, which code written through another mapping needs, and loads RIP, RSP and RFLAGS at once.
        a.iretq();
    }

    private void EmitExit(Assembler a)
    {
        a.mov(Q(_at.Out), rax);
        a.mov(esp, (uint)_at.ScratchStackTop);
        a.pushfq();
        a.pop(rax);
        a.mov(Q(_at.Out + OracleState.RflagsOffset), rax);
        a.push(2);
        a.popfq();
        for (int i = 1; i < s_gprs.Length; i++)
        {
            if (i != GprFile.Rsp)
            {
                a.mov(Q(_at.Out + (ulong)(8 * i)), s_gprs[i]);
            }
        }

        a.mov(eax, XsaveMask);
        a.xor(edx, edx);
        a.xsave64(__[(long)(_at.Out + OracleState.FpuOffset)]);
        a.fninit();
        a.fldcw(__word_ptr[(long)_at.HostFcw]);
        a.ldmxcsr(D(_at.HostMxcsr));
        a.vzeroupper();
        a.mov(rsp, Q(_at.HostRsp));
        a.mov(D(_at.Running), 0);
        SetSignalMask(a, _at.HostSignals, 0);
        foreach (AssemblerRegister64 r in s_calleeSaved.Reverse())
        {
            a.pop(r);
        }

        a.ret();
    }

    private static void SetSignalMask(Assembler a, ulong set, ulong old)
    {
        a.mov(eax, SysRtSigprocmask);
        a.mov(edi, SigSetMask);
        a.mov(esi, (uint)set);
        a.mov(edx, (uint)old);
        a.mov(r10d, SignalSetBytes);
        a.syscall();
    }

    /// <summary>void handler(int rdi, siginfo_t* rsi, ucontext_t* rdx).</summary>
    private void EmitHandler(Assembler a, Label exit)
    {
        Label chain = a.CreateLabel(), sameStack = a.CreateLabel(), reset = a.CreateLabel();
        a.cmp(D(_at.Running), 0);
        a.je(chain);
        // Another thread's fault comes in on another stack.
        a.mov(rax, rsp);
        a.sub(rax, (int)_at.AltStack);
        a.cmp(rax, OracleLayout.AltStackBytes);
        a.jae(chain);
        a.mov(D(_at.Signal), edi);
        a.mov(eax, __dword_ptr[rsi + 8]);
        a.mov(D(_at.SignalCode), eax);
        (int From, ulong To)[] copies =
        [
            (UcRip, _at.FaultRip), (UcEfl, _at.FaultRflags), (UcTrapNumber, _at.TrapNumber), (UcErr, _at.ErrorCode), (UcCr2, _at.Cr2),
            (UcRsp, _at.Out + (8 * GprFile.Rsp)),
        ];
        foreach ((int from, ulong to) in copies)
        {
            a.mov(rax, __qword_ptr[rdx + from]);
            a.mov(Q(to), rax);
        }

        a.mov(D(_at.Faulted), 1);
        a.lea(rax, __[exit]);
        a.mov(__qword_ptr[rdx + UcRip], rax);
        a.mov(__qword_ptr[rdx + UcEfl], 0x202);
        // A kernel that is a guest of kvm-pvm cannot return to a non-canonical RSP: it faults there for ever.
        a.mov(__qword_ptr[rdx + UcRsp], (int)_at.ScratchStackTop);
        a.ret();

        a.Label(ref chain);
        a.mov(eax, edi);
        a.mov(rcx, __qword_ptr[(rax * 8) + (long)_at.OldHandlers]);
        a.cmp(rcx, 1);
        a.jbe(reset);
        a.cmp(__qword_ptr[(rax * 8) + (long)_at.OldOnAltStack], 0);
        a.jne(sameStack);
        // The earlier handler expects the interrupted stack, and may never return (a managed exception leaves by itself).
        a.mov(rax, __qword_ptr[rdx + UcRsp]);
        a.mov(r8, rax);
        a.sub(r8, rsp);
        a.cmp(r8, 0x4000);
        a.jb(sameStack);
        a.push(rbx);
        a.mov(rbx, rsp);
        a.lea(rsp, __[rax - 128]);
        a.and(rsp, -16);
        a.call(rcx);
        a.mov(rsp, rbx);
        a.pop(rbx);
        a.ret();

        a.Label(ref sameStack);
        a.jmp(rcx);

        a.Label(ref reset);
        a.mov(eax, SysRtSigaction);
        a.mov(esi, (uint)_at.DefaultAction);
        a.xor(edx, edx);
        a.mov(r10d, SignalSetBytes);
        a.syscall();
        a.ret();
    }
}
