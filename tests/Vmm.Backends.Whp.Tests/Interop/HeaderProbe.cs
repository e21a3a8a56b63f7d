using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace Vmm.Backends.Whp.Tests.Interop;

/// <summary>What the published headers say, found by compiling a C program with them: constants, sizes, offsets and bit positions.</summary>
public sealed class HeaderProbe : IDisposable
{
    /// <summary>Where Debian's mingw-w64-common has them; VMM_WHP_HEADERS names another place.</summary>
    private static readonly string Headers = Environment.GetEnvironmentVariable("VMM_WHP_HEADERS") ?? "/usr/share/mingw-w64/include";

    // What the Windows headers around the three would have defined.
    private const string Windows = """
        #include <stdint.h>
        #include <stddef.h>
        #include <stdio.h>
        #include <string.h>
        #define WINAPI_FAMILY_PARTITION(x) 1
        #define WINAPI
        #define CALLBACK
        #define VOID void
        #define CONST const
        #define ANYSIZE_ARRAY 1
        #define __C89_NAMELESS
        #define DECLSPEC_ALIGN(x) __attribute__((aligned(x)))
        #define DEFINE_ENUM_FLAG_OPERATORS(x)
        #define C_ASSERT(e) _Static_assert(e, #e)
        typedef uint64_t UINT64; typedef uint32_t UINT32; typedef uint16_t UINT16, USHORT, WCHAR; typedef uint8_t UINT8; typedef int32_t WINBOOL, HRESULT;
        typedef void *PVOID, *HANDLE;
        typedef struct { UINT32 LowPart; int32_t HighPart; } LUID;
        typedef struct { UINT32 a; UINT16 b, c; UINT8 d[8]; } GUID;
        typedef int DEVICE_POWER_STATE;

        """;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-whp-headers").FullName;

    public static string Platform => File.ReadAllText(Path.Combine(Headers, "winhvplatform.h"));

    public static string Emulation => File.ReadAllText(Path.Combine(Headers, "winhvemulation.h"));

    public static string Definitions => File.ReadAllText(Path.Combine(Headers, "winhvplatformdefs.h"));

    /// <summary>Skips the test where the headers or the compiler are missing (except where CI installs them).</summary>
    public static void Require()
    {
        if (!File.Exists(Path.Combine(Headers, "winhvplatformdefs.h"))) Missing($"the headers of the platform are not in {Headers}; install them: apt-get install mingw-w64-common");
        if (!(Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(p => File.Exists(Path.Combine(p, "gcc")))) Missing("gcc is not there; install it: apt-get install gcc");
    }

    /// <summary>Compiles a main with the three headers and gives what it printed: a name and a number a line.</summary>
    public Dictionary<string, ulong> Run(IEnumerable<string> statements)
    {
        foreach (var name in new[] { "apiset.h", "apisetcconv.h", "minwindef.h", "winapifamily.h" }) File.WriteAllText(Path.Combine(_directory, name), "");
        var source = new StringBuilder(Windows);
        source.AppendLine("#include <winhvplatform.h>").AppendLine("#include <winhvemulation.h>");
        source.AppendLine("#define OUT(name, value) printf(\"%s %llu\\n\", name, (unsigned long long)(value))");

        // The lowest bit and the number of bits of a bit-field, wherever it is.
        source.AppendLine("""
            static void bits(const char *name, const unsigned char *bytes, size_t size) {
                int first = -1, count = 0;
                for (size_t i = 0; i < size * 8; i++) if (bytes[i / 8] >> i % 8 & 1) { if (first < 0) first = i; count++; }
                printf("%s.first %d\n%s.count %d\n", name, first, name, count);
            }
            #define BITS(type, field) { union { type t; unsigned char b[sizeof(type)]; } u; memset(&u, 0, sizeof u); u.t.field = -1; bits(#type "." #field, u.b, sizeof u); }
            int main(void) {
            """);
        foreach (var statement in statements) source.AppendLine(statement);
        source.AppendLine("return 0; }");
        var file = Path.Combine(_directory, "probe.c");
        File.WriteAllText(file, source.ToString());

        // Bit-fields are laid out as Microsoft's compiler does.
        var program = Path.Combine(_directory, "probe");
        Start("gcc", "-w", "-mms-bitfields", "-fshort-wchar", "-I", _directory, "-idirafter", Headers, "-o", program, file);
        return Start(program).Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(l => l.Split(' ')).ToDictionary(l => l[0], l => ulong.Parse(l[1], CultureInfo.InvariantCulture));
    }

    public void Dispose() => Directory.Delete(_directory, true);

    private static void Missing(string what)
    {
        if (Environment.GetEnvironmentVariable("CI") is null) Assert.Skip(what);
        Assert.Fail(what);
    }

    private static string Start(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program}: {errors.Result}");
        return output;
    }
}
