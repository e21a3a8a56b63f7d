using Iced.Intel;
using Vmm.Backends.Software.Translate;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>
/// Functions of all kinds that work on the memory of whoever calls them: branches within a page and to others, calls and returns, jumps by a table,
/// loops, vectors, x87. What a caller ends with depends on nothing but its seed and its memory, though all run the same code.
/// </summary>
/// <param name="seed">What they are made of.</param>
/// <param name="functions">How many there are, at least eight.</param>
/// <param name="meets">Callers wait for one another before each call.</param>
/// <param name="disturbance">What is done besides.</param>
internal sealed class LibraryProgram(int seed, int functions, bool meets = false, LibraryProgram.Disturbance disturbance = LibraryProgram.Disturbance.None)
{
    /// <summary>What functions do besides, of which nobody must become aware.</summary>
    [Flags]
    public enum Disturbance
    {
        None = 0,

        /// <summary>They write to code what is there already, and beside code.</summary>
        Writes = 1,

        /// <summary>They flush what processors know of page tables.</summary>
        Flushes = 2,

        /// <summary>They map pages of code to a copy and back, in their own page tables.</summary>
        Maps = 4,
    }

    /// <summary>An address that is each member's own memory, and where half of that memory is.</summary>
    public const ulong Same = 0x1E0000, SameOffset = 0x8000;

    /// <summary>The most functions.</summary>
    public const int Most = (int)((Same - Functions) / Slot);

    private const ulong Functions = 0x100000, Slot = 256, Table = 0x90000, Copies = 0x2C0000, CopyPages = 16;
    private const int Fuel = 24;

    private readonly Random _random = new(seed);

    /// <summary>Functions of the library.</summary>
    public int Count { get; } = functions;

    /// <summary>All of a crew: R12 times a random function, and up to 24 that follow.</summary>
    /// <param name="translateAfter">Runs before translation.</param>
    /// <param name="vcpus">Processors.</param>
    /// <param name="rounds">For each of them.</param>
    /// <param name="alike">They call the same functions in the same order.</param>
    /// <param name="codePart">Bytes of either part of a region of translated code.</param>
    public Crew Make(int translateAfter, int vcpus, int rounds, bool alike, int codePart = CodeMemory.DefaultPart)
    {
        var crew = new Crew(translateAfter, vcpus, Main, codePart);
        Place(crew);
        crew.Separate();
        for (var i = 0; i < vcpus; i++)
        {
            for (ulong at = 0; at < 0x1000; at += 4)
            {
                crew.Write(Crew.OwnOf(i) + at, _random.Next());
                crew.Write(Crew.OwnOf(i) + SameOffset + at, _random.Next());
            }

            crew.Write(Crew.EntryOf(i, Same), (Crew.OwnOf(i) + SameOffset) | 0x67);
            (crew.Members[i].Gpr[12], crew.Members[i].Gpr[13]) = ((ulong)rounds, alike ? (ulong)seed : (ulong)_random.NextInt64());
            // Entries of the pages of which there are copies.
            crew.Members[i].Gpr[14] = Crew.EntryOf(i, Functions);
        }

        return crew;
    }

    /// <summary>The address of a function.</summary>
    public static ulong At(int function) => Functions + (ulong)function * Slot;

    private void Main(Assembler a)
    {
        var loop = a.CreateLabel();
        Crew.Meet(a);
        a.Label(ref loop);
        if (meets) Crew.Meet(a);
        a.mov(rcx, 6364136223846793005);
        a.imul(r13, rcx);
        a.add(r13, 12345);
        a.mov(rax, r13);
        a.shr(rax, 33);
        a.mov(ecx, Count);
        a.xor(edx, edx);
        a.div(ecx);
        a.mov(ebp, Fuel);
        a.call(__qword_ptr[rdx * 8 + (long)Table]);
        a.dec(r12);
        a.jne(loop);
        // Others may have had fewer to meet; and flags that are defined.
        a.xor(r9d, r9d);
        a.cmp(eax, eax);
    }

    private void Place(Crew crew)
    {
        for (var i = 0; i < Count; i++)
        {
            using var stream = new MemoryStream();
            var a = new Assembler(64);
            Write(a, i);
            a.Assemble(new StreamCodeWriter(stream), At(i));
            if (stream.Length > (int)Slot - 16) throw new InvalidOperationException("A function is too long.");
            crew.Bytes(At(i), stream.ToArray());
            crew.Write(Table + (ulong)i * 8, At(i));
        }

        for (ulong page = 0; page < CopyPages; page++)
        {
            var bytes = new byte[4096];
            if (!crew.Bus.Memory.TryRead(Functions + page * 4096, bytes)) throw new InvalidOperationException("The library has no memory.");
            crew.Bytes(Copies + page * 4096, bytes);
        }
    }

    private void Write(Assembler a, int number)
    {
        // Every function begins with a constant that may be written anew.
        a.add(edx, 0x01010101 + number);
        var onwards = a.CreateLabel();
        a.dec(ebp);
        a.jg(onwards);
        a.ret();
        a.Label(ref onwards);
        for (var i = _random.Next(1, 6); i > 0; i--) Add(a);
        if (_random.Next(4) == 0) Loop(a);
        if (_random.Next(10) == 0) Disturb(a);
        // Of the same page mostly.
        int near = Math.Min(number & ~15 | _random.Next(16), Count - 1), far = _random.Next(Count);
        switch (_random.Next(7))
        {
            case 0: a.jmp(At(near)); break;
            case 1: a.jmp(At(far)); break;
            case 2:
                a.test(edx, 1 << _random.Next(16));
                a.je(At(near));
                a.jmp(At(far));
                break;
            case 3:
                a.mov(eax, edx);
                a.and(eax, 7);
                a.jmp(__qword_ptr[rax * 8 + (long)Table + _random.Next(Math.Max(Count - 8, 1)) * 8]);
                break;
            case 4:
                a.call(At(far));
                a.jmp(At(near));
                break;
            case 5:
                a.lea(rax, __[At(far)]);
                a.call(rax);
                a.ret();
                break;
            default:
                a.test(dl, 4);
                a.jne(At(far));
                a.call(At(near));
                a.ret();
                break;
        }
    }

    private void Add(Assembler a)
    {
        var at = _random.Next(64) * 8;
        switch (_random.Next(12))
        {
            case 0: a.add(rsi, __qword_ptr[rbx + at]); break;
            case 1: a.mov(__qword_ptr[rbx + at], rdx); break;
            case 2: a.rol(edx, (byte)_random.Next(1, 31)); a.add(edx, esi); break;
            case 3: a.push(rdx); a.xor(rdi, rsi); a.pop(r8); break;
            case 4: a.movups(xmm1, __xmmword_ptr[rbx + at]); a.paddd(xmm2, xmm1); break;
            case 5: a.lea(edx, __[rdx + rsi * 4 + 77]); break;
            case 6: a.inc(__dword_ptr[Same + (ulong)at]); break;
            case 7: a.xor(rdi, __qword_ptr[Same + (ulong)at]); a.add(__qword_ptr[Same + (ulong)(at ^ 8)], rdi); break;
            case 8: a.fild(__dword_ptr[rbx + at]); a.fiadd(__dword_ptr[rbx + 8]); a.fistp(__qword_ptr[rbx + at + 512]); break;
            case 9: a.cvtdq2ps(xmm3, xmm2); a.addps(xmm4, xmm3); a.movups(__xmmword_ptr[rbx + at + 1024], xmm3); break;
            case 10:
                a.lea(rdi, __[rbx + at + 2048]);
                a.mov(eax, edx);
                a.mov(ecx, _random.Next(1, 60));
                a.rep.stosb();
                break;
            default: a.@lock.xadd(__qword_ptr[rbx + at], rdx); break;
        }
    }

    private void Loop(Assembler a)
    {
        var loop = a.CreateLabel();
        a.mov(ecx, _random.Next(2, 40));
        a.Label(ref loop);
        switch (_random.Next(4))
        {
            case 0:
                a.add(__qword_ptr[rbx + rcx * 8], rdx);
                a.xor(eax, __dword_ptr[rbx + _random.Next(16) * 4]);
                break;
            case 1:
                a.add(edx, __dword_ptr[rcx * 4 + (long)Same]);
                a.mov(__dword_ptr[rbx + rcx * 4 + 512], edx);
                break;
            case 2:
                a.paddq(xmm2, __xmmword_ptr[rbx + _random.Next(16) * 16]);
                a.movups(__xmmword_ptr[rbx + rcx * 8 + 1024], xmm2);
                break;
            default:
                a.fild(__dword_ptr[rbx + rcx * 4]);
                a.fistp(__dword_ptr[rbx + rcx * 4 + 2048]);
                a.push(rcx);
                a.add(rdx, __qword_ptr[rsp]);
                a.pop(rcx);
                break;
        }

        a.dec(ecx);
        a.jne(loop);
    }

    private void Disturb(Assembler a)
    {
        var kinds = Enum.GetValues<Disturbance>().Where(d => d != Disturbance.None && disturbance.HasFlag(d)).ToArray();
        if (kinds.Length == 0) return;
        var target = _random.Next(Count);
        switch (kinds[_random.Next(kinds.Length)])
        {
            case Disturbance.Writes when _random.Next(3) == 0:
                // Beside the code, each member in a byte of its own.
                a.mov(__byte_ptr[r15 + (long)(At(target) + Slot - 16)], r15b);
                break;
            case Disturbance.Writes:
                a.mov(__dword_ptr[At(target) + 2], 0x01010101 + target);
                break;
            case Disturbance.Maps:
                // Functions lie below the copies by a number that has no bits in common with theirs.
                a.xor(__dword_ptr[r14 + (int)(At(target) / 4096 % CopyPages) * 8], (int)(Functions ^ Copies));
                a.invlpg(__byte_ptr[Functions + At(target) / 4096 % CopyPages * 4096]);
                break;
            case Disturbance.Flushes when _random.Next(4) == 0:
                a.mov(rax, cr4);
                a.btc(rax, 7);
                a.mov(cr4, rax);
                break;
            case Disturbance.Flushes when _random.Next(3) == 0:
                a.mov(rax, cr3);
                a.mov(cr3, rax);
                break;
            default:
                a.invlpg(__byte_ptr[At(target)]);
                break;
        }
    }
}
