using Vmm.Backends.Software.Cpu;
using static Vmm.Backends.Software.Translate.RegisterMap;

namespace Vmm.Backends.Software.Translate;

/// <summary>
/// The code around translated blocks: the way in, the ways out, and calls of C# functions. Outside of translated code all guest
/// state is in <see cref="CpuState"/>; the arithmetic flags are in <see cref="TranslatorState.HostFlags"/>.
/// </summary>
internal sealed class Stubs
{
    private readonly Emitter _e;
    private readonly int _save;
    private readonly int _saveX87;
    private readonly bool _windows = OperatingSystem.IsWindows();

    public Stubs(Emitter e)
    {
        _e = e;
        _save = EmitSaveVector();
        _saveX87 = EmitSaveX87();
        Enter = EmitEnter();
        Link = EmitLeave(ExitKind.Link);
        Interpret = EmitLeave(ExitKind.Interpret);
        Event = EmitLeave(ExitKind.Event);
        Hot = EmitLeave(ExitKind.Hot);
        Access = EmitCall(StateLayout.AccessCallback, loadsX87: false, vectors: false);
        VectorAccess = EmitCall(StateLayout.AccessCallback, loadsX87: false, vectors: true);
        Window = EmitCall(StateLayout.WindowCallback, loadsX87: false, vectors: false);
        VectorWindow = EmitCall(StateLayout.WindowCallback, loadsX87: false, vectors: true);
        Operation = EmitCall(StateLayout.OperationCallback, loadsX87: false, vectors: false);
        VectorOperation = EmitCall(StateLayout.OperationCallback, loadsX87: false, vectors: true);
        LoadX87 = EmitCall(StateLayout.X87Callback, loadsX87: true, vectors: true);
        LoadVector = EmitLoadVector();
        Time = new TimeStub(e, EmitTime()).Code;
        Behind = new LookasideStubs(e, this);
        Strings = new StringStubs(e);
    }

    /// <summary>What is tried first where an address is not in the TLB or the cache of targets.</summary>
    public LookasideStubs Behind { get; }

    /// <summary>What is tried first for repeated string instructions.</summary>
    public StringStubs Strings { get; }

    /// <summary><c>int Enter(base register, code)</c>: returns an <see cref="ExitKind"/>.</summary>
    public int Enter { get; }

    /// <summary>Jumped to with a site in ECX: a direct branch whose target is not linked.</summary>
    public int Link { get; }

    /// <summary>Jumped to with a site in ECX: the interpreter goes on at an instruction.</summary>
    public int Interpret { get; }

    /// <summary>Jumped to with a site in ECX: something waits for the processor at the start of a block.</summary>
    public int Event { get; }

    /// <summary>Jumped to with a site in ECX: a block has run so often that it should be translated as hot.</summary>
    public int Hot { get; }

    /// <summary>Called with a window's number in ECX and an address in R14, where it should be open; returns to try again.</summary>
    public int Window { get; }

    /// <summary>The same, of a block with vector instructions.</summary>
    public int VectorWindow { get; }

    /// <summary>Called with a site in ECX and an address in R14, which the TLB did not cover; returns to try again.</summary>
    public int Access { get; }

    /// <summary>The same, of a block with vector instructions: their registers are in the host's again afterwards.</summary>
    public int VectorAccess { get; }

    /// <summary>Called with a site in ECX: the interpreter does one instruction.</summary>
    public int Operation { get; }

    /// <summary>The same, of a block with vector instructions.</summary>
    public int VectorOperation { get; }

    /// <summary>Called with a site in ECX at the start of a block with vector instructions when the registers are in the state.</summary>
    public int LoadVector { get; }

    /// <summary>Called with a site in ECX at the start of a block with x87 instructions when the registers are in the state.</summary>
    public int LoadX87 { get; }

    /// <summary>Called for RDTSC by a block without vector instructions while no x87 register of the guest's is in the host's.</summary>
    public int Time { get; }

    private int EmitEnter()
    {
        var start = _e.At;
        _e.Bytes([0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57]); // push rbx, rbp, r12 to r15
        if (_windows)
        {
            _e.Bytes([0x57, 0x56]); // push rdi, rsi
            _e.Bytes([0x48, 0x81, 0xEC]); // sub rsp, 200: six to fifteen, and room for the callee's arguments
            _e.Int(200);
            for (var i = 6; i < 16; i++) MoveXmm(0x11, i, 32 + (i - 6) * 16);
            _e.Move(Rdi, Rcx);
            _e.Move(Rsi, Rdx);
        }
        else
        {
            _e.Bytes([0x48, 0x83, 0xEC, 0x08]); // sub rsp, 8
        }

        _e.Bytes([0x48, 0x89, 0xA7]); // mov [rdi + HostStack], rsp
        _e.Int(StateLayout.HostStack);
        _e.Move(Rsp, Rdi);
        _e.Move(R14, Rsi);
        LoadFlags();
        LoadRegisters();
        _e.Bytes([0x41, 0xFF, 0xE6]); // jmp r14
        return start;
    }

    private int EmitLeave(ExitKind kind)
    {
        var start = _e.At;
        _e.Store32(StateLayout.Site, Rcx);
        StoreRegisters();
        StoreFlags();
        SaveLive();
        Return((int)kind);
        return start;
    }

    // Returns an exit kind in EAX to the caller of Enter.
    private void Return(int kind)
    {
        if (kind >= 0) _e.Constant(Rax, (ulong)kind);
        _e.Load(Rsp, StateLayout.HostStack);
        if (_windows)
        {
            for (var i = 6; i < 16; i++) MoveXmm(0x10, i, 32 + (i - 6) * 16);
            _e.Bytes([0x48, 0x81, 0xC4]);
            _e.Int(200);
            _e.Bytes([0x5E, 0x5F]);
        }
        else
        {
            _e.Bytes([0x48, 0x83, 0xC4, 0x08]);
        }

        _e.Bytes([0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3]);
    }

    private int EmitCall(int callback, bool loadsX87, bool vectors)
    {
        var start = _e.At;
        _e.Lea(Rsp, Rsp, -1, 1, 8);
        _e.Load(R15, -8);
        _e.Store(StateLayout.Return, R15);
        _e.Store32(StateLayout.Site, Rcx);
        _e.Store(StateLayout.Linear, R14);
        StoreRegisters();
        StoreFlags();
        if (vectors) _e.Load32(R12, StateLayout.VectorDead);
        _e.Load32(R13, StateLayout.X87Dead);
        SaveLive();
        _e.Load(_windows ? Rcx : Rdi, StateLayout.Owner);
        _e.Move(Rbx, Rsp);
        _e.Load(Rsp, StateLayout.HostStack);
        _e.Bytes([0xFF, 0x93]); // call [rbx + callback]
        _e.Int(callback);
        _e.Move(Rsp, Rbx);
        _e.Move(Rcx, Rax);
        var resume = _e.IfZero();
        Return(-1);
        _e.Bind(resume);
        // The registers go back where they were if the rest of the block counts on that.
        int over;
        if (vectors)
        {
            over = UnlessZero(R12);
            RestoreVector(0);
            _e.Land(over);
        }

        if (loadsX87)
        {
            RestoreX87();
        }
        else
        {
            over = UnlessZero(R13);
            RestoreX87();
            _e.Land(over);
        }

        LoadFlags();
        LoadRegisters();
        _e.Load(R14, StateLayout.Linear);
        _e.JumpPlace(StateLayout.Return);
        return start;
    }

    private int EmitTime()
    {
        // What a callee may change; RAX and RDX are the result.
        ReadOnlySpan<byte> changed = [1, 4, 6, 7, 8, 9];
        var start = _e.At;
        _e.Lea(Rsp, Rsp, -1, 1, 8);
        _e.Load(R15, -8);
        _e.Store(StateLayout.Return, R15);
        foreach (var guest in changed) _e.Store(Place(guest), HostOf(guest));
        StoreFlags();
        _e.Load32(Rcx, StateLayout.VectorDead);
        var over = UnlessZero(Rcx);
        _e.Call(_save);
        _e.Land(over);
        _e.Load(_windows ? Rcx : Rdi, StateLayout.Owner);
        _e.Move(R14, Rsp);
        _e.Load(Rsp, StateLayout.HostStack);
        _e.Bytes([0x41, 0xFF, 0x96]); // call [r14 + callback]
        _e.Int(StateLayout.TimeCallback);
        _e.Move(Rsp, R14);
        _e.Move(R14, Rax);
        _e.Bytes([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xC2]); // rdtsc; shl rdx, 32; or rdx, rax
        _e.Store(StateLayout.TimeBase, Rdx);
        _e.Store(StateLayout.TimeValue, R14);
        LoadFlags();
        _e.RotateRight(R15, R14, 32);
        _e.Lea(Rax, R14, -1, 1, 0, wide: false);
        _e.Lea(Rdx, R15, -1, 1, 0, wide: false);
        foreach (var guest in changed) _e.Load(HostOf(guest), Place(guest));
        _e.JumpPlace(StateLayout.Return);
        return start;
    }

    private int EmitLoadVector()
    {
        var start = _e.At;
        _e.Move(R15, Rcx);
        _e.Load32(Rcx, StateLayout.Mxcsr + 8);
        _e.Bytes([0xF7, 0xD1]); // not ecx
        _e.Extract(Rcx, Rcx, StateLayout.VectorMask + 8);
        var masked = _e.IfZero();
        _e.Lea(Rsp, Rsp, -1, 1, 8);
        _e.Move(Rcx, R15);
        _e.Jump(Interpret);
        _e.Bind(masked);
        RestoreVector(8);
        _e.Bytes([0xC3]);
        return start;
    }

    // What of the vector and x87 registers is in the host's goes to the state and to the image.
    private void SaveLive()
    {
        foreach (var (dead, save) in new[] { (StateLayout.VectorDead, _save), (StateLayout.X87Dead, _saveX87) })
        {
            _e.Load32(Rcx, dead);
            var over = UnlessZero(Rcx);
            _e.Call(save);
            _e.Land(over);
        }
    }

    // A jump, to be landed, unless a register is zero.
    private int UnlessZero(int register)
    {
        _e.Move(Rcx, register);
        var zero = _e.IfZero();
        var over = _e.Jump();
        _e.Bind(zero);
        return over;
    }

    // Called, so the base register is eight bytes low; guest RAX and RDX are in the state. C# code gets the unit as the ABI has it.
    private int EmitSaveX87()
    {
        var start = _e.At;
        SelectX87();
        _e.Bytes([0x48, 0x0F, 0xAE]); // xsave64
        _e.Stacked(4, VcpuMemory.X87ImageOffset + 8);
        _e.Bytes([0xDB, 0xE3]); // fninit
        _e.StoreConstant32(StateLayout.X87Dead + 8, 1);
        _e.StoreConstant32(StateLayout.X87Saved + 8, 1);
        _e.WriteByte(0xC3);
        return start;
    }

    private void RestoreX87()
    {
        SelectX87();
        _e.Bytes([0x48, 0x0F, 0xAE]); // xrstor64
        _e.Stacked(5, VcpuMemory.X87ImageOffset);
        _e.StoreConstant32(StateLayout.X87Dead, 0);
        _e.StoreConstant32(StateLayout.X87Saved, 0);
    }

    // EDX:EAX names the component of XSAVE and XRSTOR.
    private void SelectX87()
    {
        _e.Constant(Rax, 1);
        _e.Constant(Rdx, 0);
    }

    // Called, so the base register is eight bytes low.
    private int EmitSaveVector()
    {
        var start = _e.At;
        for (var i = 0; i < 16; i++) MoveYmm(0x11, i, StateLayout.Ymm + 8 + i * 32);
        Mxcsr(3, StateLayout.Mxcsr + 8);
        Mxcsr(2, StateLayout.HostMxcsr + 8);
        _e.StoreConstant32(StateLayout.VectorDead + 8, 1);
        _e.Bytes([0xC5, 0xF8, 0x77, 0xC3]); // vzeroupper; ret
        return start;
    }

    private void RestoreVector(int shift)
    {
        Mxcsr(3, StateLayout.HostMxcsr + shift);
        Mxcsr(2, StateLayout.Mxcsr + shift);
        for (var i = 0; i < 16; i++) MoveYmm(0x10, i, StateLayout.Ymm + shift + i * 32);
        _e.StoreConstant32(StateLayout.VectorDead + shift, 0);
    }

    private void StoreRegisters()
    {
        foreach (var guest in Resident) _e.Store(Place(guest), HostOf(guest));
    }

    private void LoadRegisters()
    {
        foreach (var guest in Resident) _e.Load(HostOf(guest), Place(guest));
    }

    private void StoreFlags()
    {
        _e.Bytes([0x9C, 0x59]); // pushfq; pop rcx
        _e.Store(StateLayout.HostFlags, Rcx);
    }

    private void LoadFlags()
    {
        // POPFQ is microcoded: OF by an addition, the others by SAHF.
        _e.Load32(Rax, StateLayout.HostFlags);
        _e.Bytes([0x89, 0xC1, 0xC1, 0xE9, 0x0B, 0x83, 0xE1, 0x01, 0x80, 0xC1, 0x7F]); // mov ecx, eax; shr ecx, 11; and ecx, 1; add cl, 127
        _e.Bytes([0x88, 0xC4, 0x9E]); // mov ah, al; sahf
    }

    private void MoveXmm(byte opcode, int register, int place)
    {
        if (register >= 8) _e.WriteByte(0x44);
        _e.Bytes([0x0F, opcode]);
        _e.Stacked(register, place);
    }

    private void MoveYmm(byte opcode, int register, int place)
    {
        _e.Bytes([0xC5, (byte)((register < 8 ? 0x80 : 0) | 0x7C), opcode]);
        _e.Stacked(register, place);
    }

    // STMXCSR (3) or LDMXCSR (2).
    private void Mxcsr(int operation, int place)
    {
        _e.Bytes([0x0F, 0xAE]);
        _e.Stacked(operation, place);
    }
}
