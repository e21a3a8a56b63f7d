using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.TestSupport.Oracle.Interop;

namespace Vmm.TestSupport.Oracle;

public sealed unsafe partial class NativeOracle
{
    private const ulong ResumeFlag = 1UL << 16, FetchError = 0x10;

    // Hosts whose kernel is a guest of kvm-pvm now and then raise #UD for an instruction that has none (seen for memory forms of
    // FMA, AVX, SSE2 and the FPU, a few times in 100 000): one that comes again is believed.
    private const int UndefinedOpcode = 6, UndefinedRetries = 3;

    private static readonly int[] s_signals = [LibC.SIGILL, LibC.SIGTRAP, LibC.SIGBUS, LibC.SIGFPE, LibC.SIGSEGV];

    private readonly string? _mapError;
    private readonly OracleLayout _layout;
    private readonly ulong _enter;
    private readonly ulong _exit;
    private readonly nint _codeAlias;
    private readonly byte[] _dataBefore = new byte[OracleLayout.DataBytes];
    private int _lastOffset;
    private int _lastLength;
    private int _boundThread;
    private StackT _threadStack;

    private NativeOracle()
    {
        // SAFETY: everything below writes only to mappings made here, at the sizes they were made with.
        int fd = LibC.memfd_create("vmm-oracle"u8[0], LibC.MFD_CLOEXEC);
        if (fd < 0)
        {
            _mapError = "memfd_create failed with errno " + Marshal.GetLastPInvokeError();
            return;
        }

        try
        {
            const int stubBytes = OracleLayout.PageBytes;
            nint codeFileBytes = stubBytes + OracleLayout.CodeBytes;
            if (LibC.ftruncate(fd, codeFileBytes) != 0 || !TryReserve(out _layout))
            {
                _mapError = "no free arena below 2 GiB, or no memory for it";
                return;
            }

            _codeAlias = LibC.mmap(0, codeFileBytes, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_SHARED, fd, 0);
            const int readWrite = LibC.PROT_READ | LibC.PROT_WRITE, readExecute = LibC.PROT_READ | LibC.PROT_EXEC;
            const int anonymous = LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS | LibC.MAP_FIXED, shared = LibC.MAP_SHARED | LibC.MAP_FIXED;
            if (_codeAlias == -1
                || !TryMap(_layout.Control, OracleLayout.ControlBytes, readWrite, anonymous, -1, 0)
                || !TryMap(_layout.AltStack, OracleLayout.AltStackBytes, readWrite, anonymous, -1, 0)
                || !TryMap(_layout.Data, OracleLayout.DataBytes, readWrite, anonymous, -1, 0)
                || !TryMap(_layout.Stub, stubBytes, readExecute, shared, fd, 0)
                || !TryMap(_layout.Code, OracleLayout.CodeBytes, readExecute, shared, fd, stubBytes))
            {
                _mapError = "mapping the arena failed with errno " + Marshal.GetLastPInvokeError() + " (is executable memory forbidden?)";
                return;
            }

            OracleStub stub = OracleStub.Emit(_layout);
            stub.Bytes.CopyTo(new Span<byte>((void*)_codeAlias, stubBytes));
            _codeAlias += stubBytes;
            new Span<byte>((void*)_codeAlias, OracleLayout.CodeBytes).Fill(0xCC);
            _enter = stub.Enter;
            _exit = stub.Exit;
            *(ulong*)_layout.BlockedSignals = ~s_signals.Aggregate(0UL, (set, signal) => set | (1UL << (signal - 1)));
            InstallHandlers(stub.Handler);
        }
        finally
        {
            LibC.close(fd);
        }
    }

    /// <summary>The data area itself: set it before a run, read it after.</summary>
    public Span<byte> Data => new((void*)_layout.Data, OracleLayout.DataBytes); // SAFETY: mapped for the life of the process.

    private static bool TryReserve(out OracleLayout layout)
    {
        // 16 MiB is free at one of these in any process whose executable and heaps are placed by the kernel.
        for (ulong at = 0x2000_0000; at < 0x7000_0000; at += 0x0400_0000)
        {
            const int flags = LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS | LibC.MAP_NORESERVE | LibC.MAP_FIXED_NOREPLACE;
            nint got = LibC.mmap((nint)at, OracleLayout.ArenaBytes, LibC.PROT_NONE, flags, -1, 0);
            if (got == (nint)at)
            {
                layout = new OracleLayout(at);
                return true;
            }

            if (got != -1)
            {
                _ = LibC.munmap(got, OracleLayout.ArenaBytes);
            }
        }

        layout = default;
        return false;
    }

    private static bool TryMap(ulong address, int bytes, int protection, int flags, int fd, int offset) =>
        LibC.mmap((nint)address, bytes, protection, flags, fd, offset) == (nint)address;

    private void InstallHandlers(ulong handler)
    {
        foreach (int signal in s_signals)
        {
            var action = new SigAction { Handler = (nint)handler, Flags = LibC.SA_SIGINFO | LibC.SA_ONSTACK };

            // SAFETY: the tables have 32 entries. They are filled first: another thread may fault right after our handler is installed.
            if (LibC.sigaction(signal, 0, out SigAction old) == 0)
            {
                ((nint*)_layout.OldHandlers)[signal] = old.Handler;
                ((ulong*)_layout.OldOnAltStack)[signal] = (old.Flags & LibC.SA_ONSTACK) != 0 ? 1UL : 0;
            }

            if (LibC.sigaction(signal, action, 0) != 0)
            {
                throw new InvalidOperationException($"sigaction({signal}) failed with errno {Marshal.GetLastPInvokeError()}.");
            }
        }
    }

    private void BindToThread()
    {
        var stack = new StackT { Sp = (nint)_layout.AltStack, Size = OracleLayout.AltStackBytes };
        if (LibC.sigaltstack(stack, out _threadStack) != 0)
        {
            throw new InvalidOperationException($"sigaltstack failed with errno {Marshal.GetLastPInvokeError()}.");
        }

        _boundThread = Environment.CurrentManagedThreadId;
    }

    private void UnbindFromThread()
    {
        _boundThread = 0;
        // The runtime frees the thread's alternate stack as it finds it: it must find its own.
        _ = LibC.sigaltstack(_threadStack, 0);
    }

    private void RunCore(int offset, ReadOnlySpan<byte> code, in OracleState input, out OracleState output)
    {
        // SAFETY: offset and length were checked against the code area; the control page holds both states; the stub keeps to the ABI.
        var area = new Span<byte>((void*)_codeAlias, OracleLayout.CodeBytes);
        area.Slice(_lastOffset, _lastLength).Fill(0xCC);
        Span<byte> place = area[offset..];
        code.CopyTo(place);
        _lastOffset = offset;
        _lastLength = code.Length;
        ulong end = input.Rip + (ulong)code.Length;
        if (place.Length >= code.Length + 5)
        {
            place[code.Length] = 0xE9;
            Unsafe.WriteUnaligned(ref place[code.Length + 1], (int)((long)_exit - (long)(end + 5)));
            _lastLength += 5;
        }

        *(OracleState*)_layout.In = input;
        ((OracleState*)_layout.In)->Fpu.Components = 7;
        Data.CopyTo(_dataBefore);
        ((delegate* unmanaged<void>)_enter)();
        for (int retry = 0; retry < UndefinedRetries && *(int*)_layout.Faulted != 0 && *(int*)_layout.TrapNumber == UndefinedOpcode; retry++)
        {
            _dataBefore.CopyTo(Data);
            ((delegate* unmanaged<void>)_enter)();
        }

        output = *(OracleState*)_layout.Out;
        output.Rip = end;
        output.Fpu.Components = 7;
        if (*(int*)_layout.Faulted != 0)
        {
            TakeFault(input.Rip, end, ref output);
        }
    }

    private void TakeFault(ulong start, ulong end, ref OracleState output)
    {
        // SAFETY: fields of the control page.
        int vector = *(int*)_layout.TrapNumber;
        ulong error = *(ulong*)_layout.ErrorCode, rip = *(ulong*)_layout.FaultRip, address = vector == 14 ? *(ulong*)_layout.Cr2 : 0;
        output.Rip = rip;
        output.Rflags = *(ulong*)_layout.FaultRflags & ~ResumeFlag;
        bool outside = rip < start || rip >= end;
        if (vector == 3 && (rip - 1 < start || rip - 1 >= end) && rip - 1 - _layout.Code < OracleLayout.CodeBytes)
        {
            output.Rip = rip - 1;
            return;
        }

        if (vector == 14 && outside && address == rip && (error & FetchError) != 0)
        {
            return;
        }

        output.Fault = new OracleFault
        {
            Vector = vector,
            ErrorCode = (uint)error,
            Address = address,
            Signal = *(int*)_layout.Signal,
            SignalCode = *(int*)_layout.SignalCode,
        };
    }
}
