using Iced.Intel;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// A routine of eight versions, of which each differs from the next by eight bytes that lie within eight aligned ones: one store exchanges them.
/// All members but the writer call it in turns with other work. A version is theirs at the latest when they have seen its number and serialized.
/// </summary>
internal sealed class PatchedRoutine
{
    private const ulong High = 0xFFFF_8000_0000_0000, Global = 0x100, Reader = 0x71000, Writer = 0x73000, Near = 0x71800, Far = 0x72800, Pages = 0x2D0000;
    private const ulong Version = 0x75000, Last = 0x75040, Enough = 0x75080, Answers = 0x75100, Values = 0x76000, Patches = 0x76100, Targets = 0x74000;
    private const int Versions = 8, Rounds = 32, ExactCalls = 24;

    private readonly ulong _routine, _patch;
    private readonly PatchKind _kind;
    private readonly int _serializer;
    private readonly bool _isKernel;
    private readonly byte[][] _versions = new byte[Versions][];
    private readonly uint[] _values = new uint[Versions];

    /// <param name="kind">What is exchanged.</param>
    /// <param name="place">Where it is.</param>
    /// <param name="serializer">By what readers serialize: CPUID, INVLPG, IRET or a write of CR3.</param>
    public PatchedRoutine(PatchKind kind, PatchPlace place, int serializer = 0)
    {
        (_kind, _serializer, _isKernel) = (kind, serializer, place == PatchPlace.Kernel);
        _routine = place == PatchPlace.Near && kind != PatchKind.Mapping ? Near : Far;
        _patch = kind == PatchKind.Mapping ? SystemGuest.Entry(_routine) : _routine + (kind is PatchKind.Condition or PatchKind.Loop ? 8UL : 0);
        for (var i = 0; i < Versions; i++)
        {
            _values[i] = (uint)(i + 1) * 0x00010001;
            // Some in the page of the jump, others elsewhere.
            var far = (int)(Target(i) - _patch);
            switch (kind)
            {
                case PatchKind.Immediate: _versions[i] = [0xB8, .. BitConverter.GetBytes(_values[i]), 0xC3, 0x90, 0x90]; break;
                case PatchKind.Instruction:
                    var (opcode, constant) = Instruction(i, _values[i]);
                    _versions[i] = [opcode, .. BitConverter.GetBytes(constant), 0xC3, 0x90, 0x90];
                    break;
                case PatchKind.Jump: _versions[i] = [0xE9, .. BitConverter.GetBytes(far - 5), 0x0F, 0x0B, 0x90]; break;
                case PatchKind.Condition: _versions[i] = [0x0F, 0x84, .. BitConverter.GetBytes(far - 6), 0x0F, 0x0B]; break;
                case PatchKind.Call: _versions[i] = [0xE8, .. BitConverter.GetBytes(far - 5), 0xC3, 0x90, 0x90]; break;
                case PatchKind.Mapping: _versions[i] = BitConverter.GetBytes(PageOf(i) | 7 | (_isKernel ? Global : 0)); break;
                default:
                    _versions[i] = [0x05, .. BitConverter.GetBytes(_values[i]), 0x90, 0x90, 0x90];
                    _values[i] *= Rounds;
                    break;
            }
        }
    }

    // One instruction on a register that is zero: where it ends, each version has the same.
    private static (byte Opcode, uint Value) Instruction(int version, uint number) => (version % 4) switch
    {
        0 => (0xB8, number),
        1 => (0x0D, number),
        2 => (0x2D, ~number + 1),
        _ => (0x35, number),
    };

    /// <summary>Puts all of it into memory.</summary>
    /// <param name="crew">Whose memory.</param>
    /// <param name="writer">The member that makes new versions, if one does.</param>
    /// <param name="readers">From this member on all are readers.</param>
    /// <param name="versions">How many versions a writer makes.</param>
    /// <param name="exchange">It exchanges bytes, rather than storing them.</param>
    public void Prepare(Crew crew, int? writer, int readers, int versions, bool exchange = false)
    {
        crew.Place(Reader, 64, (a, _) => Read(a));
        crew.Place(Writer, 64, (a, _) => Write(a, crew.Members.Length - readers, versions, exchange));
        switch (_kind)
        {
            // CMP EAX, EAX.
            case PatchKind.Condition:
                crew.Bytes(_routine, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x39, 0xC0);
                break;
            case PatchKind.Loop:
                // XOR EAX, EAX; MOV ECX, n; a NOP; the addition; DEC ECX; JNZ to it; RET.
                crew.Bytes(_routine, 0x31, 0xC0, 0xB9, Rounds, 0, 0, 0, 0x90);
                crew.Bytes(_routine + 16, 0xFF, 0xC9, 0x75, 0xF4, 0xC3);
                break;
        }

        for (var i = 0; i < Versions; i++)
        {
            byte[] code = [0xB8, .. BitConverter.GetBytes(_values[i]), 0xC3];
            crew.Bytes(Target(i), code);
            crew.Bytes(PageOf(i) + (_routine & 0xFFF), code);
            crew.Write(Values + (ulong)i * 4, _values[i]);
            crew.Write(Patches + (ulong)i * 8, BitConverter.ToUInt64(_versions[i]));
        }

        foreach (var page in (ReadOnlySpan<ulong>)[Reader, Far, Targets]) crew.SetPage(page & ~0xFFFUL, (page & ~0xFFFUL) | 7 | (_isKernel ? Global : 0));
        crew.Bytes(_patch, _versions[0]);
        crew.Write(Last, uint.MaxValue);
        for (var i = readers; i < crew.Members.Length; i++)
        {
            var half = _isKernel ? High : 0;
            crew.Members[i].Cr4 |= 0x80;
            (crew.Members[i].Rip, crew.Members[i].Gpr[8]) = (half + Reader, Answers + (ulong)(i - readers) * 64);
            (crew.Members[i].Gpr[5], crew.Members[i].Gpr[6], crew.Members[i].Gpr[7]) = (0, half + _routine, 0);
        }

        if (writer is { } index) (crew.Members[index].Rip, crew.Members[index].Gpr[5], crew.Members[index].Gpr[7]) = (Writer, 0, _patch);
    }

    /// <summary>Tells the writer that it need not go on.</summary>
    public static void BeEnough(Crew crew) => crew.Write(Enough, 1u);

    /// <summary>Makes a version, as a device would.</summary>
    public void Write(Crew crew, uint version, bool last)
    {
        if (last) crew.Write(Last, version);
        crew.Write(_patch, BitConverter.ToUInt64(_versions[version % Versions]));
        crew.Write(Version, version);
    }

    /// <summary>Whether a number of readers have answered to a version.</summary>
    public static bool IsAnswered(Crew crew, int readers, uint version) => Enumerable.Range(0, readers).All(r => crew.Read<uint>(Answers + (ulong)r * 64) == version);

    /// <summary>Whether readers, from a member on, met nothing but what versions gave, and as many of these as wanted.</summary>
    public static void AssertRight(Crew crew, int readers, int versions, int least = 2)
    {
        foreach (var member in crew.Members[readers..])
        {
            Assert.True(member.Gpr[7] == 0, $"{member.Gpr[7]} calls of {member.Gpr[10]} had another result than the versions have, 0x{member.Gpr[14]:x} at last, when 0x{member.Gpr[13]:x} was known");
            Assert.InRange(member.Gpr[5], (ulong)least, (ulong)versions);
        }
    }

    private ulong Target(int version) => version % 2 == 0 ? (_routine & ~0xFFFUL) + 0xC00 + (ulong)version * 16 : Targets + (ulong)version * 0x80;

    private static ulong PageOf(int version) => Pages + (ulong)version * 0x1000;

    // EBP is the version known, EDI counts what was wrong, R14 is the last of that and R13 what was known then, and in its upper half how often it was to be called; R10 counts calls.
    private void Read(Assembler a)
    {
        Label again = a.CreateLabel(), right = a.CreateLabel(), exact = a.CreateLabel(), fine = a.CreateLabel();
        a.Label(ref again);
        a.inc(r10);
        Call(a);
        if (_kind == PatchKind.Loop)
        {
            // Its halves are alike, whatever was added up.
            a.rorx(ecx, eax, 16);
            a.cmp(eax, ecx);
            a.je(right);
        }
        else
        {
            for (var i = 0; i < 2; i++)
            {
                a.lea(ecx, __[rbp + i]);
                a.and(ecx, Versions - 1);
                a.cmp(eax, __dword_ptr[rcx * 4 + (long)Values]);
                a.je(right);
            }
        }

        a.inc(edi);
        a.mov(r14d, eax);
        a.mov(r13, rbp);
        a.Label(ref right);
        // A microsecond in which nobody looks for events.
        for (var i = 0; i < 80; i++) a.sqrtpd(xmm0, xmm0);
        a.cmp(__dword_ptr[Version], ebp);
        a.je(again);
        a.inc(ebp);
        Serialize(a);
        a.mov(r11d, ExactCalls);
        a.Label(ref exact);
        Call(a);
        a.mov(ecx, ebp);
        a.and(ecx, Versions - 1);
        a.cmp(eax, __dword_ptr[rcx * 4 + (long)Values]);
        a.je(fine);
        a.inc(edi);
        a.mov(r14d, eax);
        a.mov(r13, r11);
        a.shl(r13, 32);
        a.or(r13, rbp);
        a.Label(ref fine);
        a.dec(r11d);
        a.jne(exact);
        a.mov(__dword_ptr[r8], ebp);
        a.cmp(__dword_ptr[Last], ebp);
        a.jne(again);
    }

    private void Serialize(Assembler a)
    {
        if (_kind == PatchKind.Mapping && (_isKernel || _serializer % 2 == 0))
        {
            a.invlpg(__byte_ptr[rsi]);
            return;
        }

        switch (_kind == PatchKind.Mapping ? 3 : _serializer % 4)
        {
            case 0:
                a.xor(eax, eax);
                a.cpuid();
                break;
            case 1:
                a.invlpg(__byte_ptr[Version]);
                break;
            case 2:
                var back = a.CreateLabel();
                a.mov(rcx, rsp);
                a.push(SystemGuest.Data);
                a.push(rcx);
                a.pushfq();
                a.push(SystemGuest.Code64);
                a.lea(rax, __[back]);
                a.push(rax);
                a.iretq();
                a.Label(ref back);
                break;
            default:
                a.mov(rax, cr3);
                a.mov(cr3, rax);
                break;
        }
    }

    // Directly and by a register in turns.
    private void Call(Assembler a)
    {
        Label indirect = a.CreateLabel(), done = a.CreateLabel();
        a.xor(eax, eax);
        a.test(r10d, 1);
        a.jne(indirect);
        a.call(_routine);
        a.jmp(done);
        a.Label(ref indirect);
        a.call(rsi);
        a.Label(ref done);
        a.nop();
    }

    private static void Write(Assembler a, int readers, int versions, bool exchange)
    {
        Label loop = a.CreateLabel(), last = a.CreateLabel(), store = a.CreateLabel();
        a.Label(ref loop);
        a.inc(ebp);
        a.cmp(ebp, versions);
        a.je(last);
        a.cmp(__dword_ptr[Enough], 0);
        a.je(store);
        a.Label(ref last);
        a.mov(__dword_ptr[Last], ebp);
        a.Label(ref store);
        a.mov(ecx, ebp);
        a.and(ecx, Versions - 1);
        a.mov(rax, __qword_ptr[rcx * 8 + (long)Patches]);
        if (exchange) a.xchg(__qword_ptr[rdi], rax);
        else a.mov(__qword_ptr[rdi], rax);
        a.mov(__dword_ptr[Version], ebp);
        for (var reader = 0; reader < readers; reader++)
        {
            Label wait = a.CreateLabel(), answered = a.CreateLabel();
            a.Label(ref wait);
            a.cmp(__dword_ptr[Answers + (ulong)reader * 64], ebp);
            a.je(answered);
            a.@out(Crew.Yield, al);
            a.jmp(wait);
            a.Label(ref answered);
            a.nop();
        }

        a.cmp(__dword_ptr[Last], ebp);
        a.jne(loop);
    }
}
