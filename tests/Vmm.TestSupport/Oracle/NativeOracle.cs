using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Vmm.TestSupport.Oracle;

/// <summary>
/// Runs 64-bit user-mode x86 instructions natively in this process from a given architectural state, and tells the state after:
/// the host CPU as the oracle of the interpreter and the translator. Faults are caught. Only single instructions or short straight
/// sequences may be run: nothing stops an endless loop. Privileged instructions, SYSCALL, INT 0x80, far transfers and writes of segment
/// registers or FS/GS bases must not be given. Addresses the code uses must lie in the data area, in the guards around it, or be
/// non-canonical: anything else is this process's own memory.
/// </summary>
/// <remarks>
/// One instance exists in a process, because signal handlers and the arena's address are the process's. It is used through
/// <see cref="Use"/>, by one thread at a time. The arena's address is normally the same in every run, so that failures reproduce.
/// </remarks>
public sealed partial class NativeOracle
{
    /// <summary>Inaccessible bytes before and after the code area and the data area, at least.</summary>
    public const int GuardBytes = 0x10_0000;

    private static readonly Lock s_turn = new();
    private static readonly Lazy<NativeOracle> s_instance = new(() => new NativeOracle());
    private static readonly Lazy<string?> s_unsupported = new(FindUnsupportedReason);

    /// <summary>Whether this host can run the oracle.</summary>
    public static bool IsSupported => UnsupportedReason is null;

    /// <summary>Why <see cref="IsSupported"/> is false, or null.</summary>
    public static string? UnsupportedReason => s_unsupported.Value;

    /// <summary>First address of the code area (two pages, readable and executable, filled with INT3).</summary>
    public ulong CodeAddress => _layout.Code;

    /// <summary>Bytes of the code area.</summary>
    public static int CodeBytes => OracleLayout.CodeBytes;

    /// <summary>First address of the data area (two pages, readable and writable).</summary>
    public ulong DataAddress => _layout.Data;

    /// <summary>Bytes of the data area.</summary>
    public static int DataBytes => OracleLayout.DataBytes;

    /// <summary>First address of the arena in which the areas and their guards lie.</summary>
    public ulong ArenaAddress => _layout.Base;

    /// <summary>Bytes of the arena; it ends below 2 GiB.</summary>
    public static int ArenaBytes => OracleLayout.ArenaBytes;

    /// <summary>
    /// Calls <paramref name="body"/> with the oracle on a thread of its own, which has an alternate signal stack; waits for it and passes
    /// on what it threw. Other callers wait for their turn.
    /// </summary>
    /// <exception cref="PlatformNotSupportedException"><see cref="IsSupported"/> is false.</exception>
    public static void Use(Action<NativeOracle> body)
    {
        if (UnsupportedReason is { } reason)
        {
            throw new PlatformNotSupportedException("The native oracle cannot run here: " + reason);
        }

        System.Runtime.ExceptionServices.ExceptionDispatchInfo? thrown = null;
        lock (s_turn)
        {
            var thread = new Thread(() =>
            {
                NativeOracle oracle = s_instance.Value;
                oracle.BindToThread();
                try
                {
                    body(oracle);
                }
                catch (Exception e)
                {
                    thrown = System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(e);
                }
                finally
                {
                    oracle.UnbindFromThread();
                }
            })
            { Name = "native oracle", IsBackground = true };
            thread.Start();
            thread.Join();
        }

        thrown?.Throw();
    }

    /// <summary>
    /// Runs <paramref name="code"/> placed at <c>input.Rip</c> and leaves the state after it in <paramref name="output"/>. A branch out of
    /// the given bytes ends the run with RIP at its target and without a fault, provided the target is more than 16 bytes away from the
    /// bytes' end, and either in the code area or inaccessible.
    /// </summary>
    /// <exception cref="ArgumentException">The bytes do not fit the code area at that address.</exception>
    public void Run(ReadOnlySpan<byte> code, in OracleState input, out OracleState output)
    {
        if (_boundThread != Environment.CurrentManagedThreadId)
        {
            throw new InvalidOperationException("The oracle may be used only inside the delegate given to Use, on its thread.");
        }

        ulong offset = input.Rip - _layout.Code;
        if (code.IsEmpty || offset >= OracleLayout.CodeBytes || (ulong)code.Length > OracleLayout.CodeBytes - offset)
        {
            throw new ArgumentException(
                $"{code.Length} bytes at RIP 0x{input.Rip:X} do not lie in the code area 0x{_layout.Code:X}..0x{_layout.Code + OracleLayout.CodeBytes:X}.",
                nameof(code));
        }

        RunCore((int)offset, code, input, out output);
    }

    private static string? FindUnsupportedReason()
    {
        if (!OperatingSystem.IsLinux())
        {
            return "the host is not Linux";
        }

        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return "the process is not x86-64";
        }

        if (!Avx2.IsSupported || !Fma.IsSupported || !Bmi2.X64.IsSupported)
        {
            return "the host CPU is below x86-64-v3";
        }

        try
        {
            return s_instance.Value._mapError;
        }
        catch (DllNotFoundException e)
        {
            return e.Message;
        }
    }
}
