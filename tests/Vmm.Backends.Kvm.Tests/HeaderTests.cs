using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Backends.Kvm.Interop;

namespace Vmm.Backends.Kvm.Tests;

/// <summary>Structures and constants against the system's linux/kvm.h, by a C program made of their names.</summary>
public class HeaderTests
{
    // Ours have room for one register, or other names, where C has arrays and unions.
    private static readonly HashSet<string> s_notInC =
    [
        "kvm_xcrs.xcr0", "kvm_xcrs.others", "kvm_irq_routing_entry.address_lo", "kvm_irq_routing_entry.address_hi", "kvm_irq_routing_entry.data", "kvm_irq_routing_entry.devid",
        "kvm_irq_routing_entry.rest", "kvm_vcpu_events.sipi_vector",
    ];

    [Fact]
    public void StructuresAndConstants_AreThoseOfTheHeader()
    {
        var source = new StringBuilder("#include <stdio.h>\n#include <stddef.h>\n#include <linux/kvm.h>\n#include <asm/kvm_para.h>\nint main(void){\n");
        Dictionary<string, string> ours = [];
        foreach (var type in typeof(kvm_regs).Assembly.GetTypes().Where(t => t is { IsValueType: true, Namespace: "Vmm.Backends.Kvm.Interop", IsNested: false } && t.Name.StartsWith("kvm_", StringComparison.Ordinal)))
        {
            source.Append($"printf(\"{type.Name} %zu\\n\", sizeof(struct {type.Name}));\n");
            ours[type.Name] = Marshal.SizeOf(type).ToString();
            foreach (var field in type.GetFields(BindingFlags.Public | BindingFlags.Instance))
            {
                if (CName(type.Name, field.Name) is not { } name) continue;
                source.Append($"printf(\"{type.Name}.{field.Name} %zu\\n\", offsetof(struct {type.Name}, {name}));\n");
                ours[$"{type.Name}.{field.Name}"] = Marshal.OffsetOf(type, field.Name).ToString();
            }
        }

        foreach (var constant in typeof(Interop.Kvm).GetFields(BindingFlags.Public | BindingFlags.Static).Where(f => f.IsLiteral))
        {
            source.Append($"#ifdef {constant.Name}\nprintf(\"{constant.Name} %llu\\n\", (unsigned long long){constant.Name});\n#endif\n");
            ours[constant.Name] = Convert.ToUInt64(constant.GetRawConstantValue()).ToString();
        }

        var theirs = Compile(source.Append("return 0;}\n").ToString());
        Assert.True(theirs.Count > 250, $"The header told of {theirs.Count} names only.");
        Assert.Empty(theirs.Where(t => ours[t.Key] != t.Value).Select(t => $"{t.Key}: {ours[t.Key]} here, {t.Value} in linux/kvm.h"));
    }

    private static string? CName(string type, string field)
    {
        if (s_notInC.Contains($"{type}.{field}")) return null;
        string[] parts = (type, field) switch
        {
            ("kvm_run", _) => ["io_", "mmio_", "msr_", "debug_arch_", "hw_", "fail_entry_", "internal_", "emulation_failure_", "system_event_", "eoi_", "ex_"],
            ("kvm_vcpu_events", _) => ["exception_", "interrupt_", "nmi_", "smi_", "triple_fault_"],
            _ => [],
        };
        if (field is "exception_has_payload" or "exception_payload") return field;
        if (type == "kvm_guest_debug" && field == "debugreg") return "arch.debugreg";
        if (Array.Find(parts, p => field.StartsWith(p, StringComparison.Ordinal)) is not { } part || field == "immediate_exit") return field;
        return part.TrimEnd('_').Replace("debug_arch", "debug.arch") + "." + field[part.Length..];
    }

    private static Dictionary<string, string> Compile(string source)
    {
        Assert.SkipUnless(File.Exists("/usr/include/linux/kvm.h"), "no linux/kvm.h: apt-get install linux-libc-dev");
        Assert.SkipUnless((Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(d => File.Exists(Path.Combine(d, "gcc"))), "no gcc: apt-get install gcc libc6-dev");
        var folder = Directory.CreateTempSubdirectory("vmm-kvm-header-").FullName;
        try
        {
            var (file, program) = (Path.Combine(folder, "header.c"), Path.Combine(folder, "header"));
            File.WriteAllText(file, source);
            var (code, output) = Execute("gcc", "-w", "-o", program, file);
            Assert.True(code == 0, output);
            (code, output) = Execute(program);
            Assert.Equal(0, code);
            return output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split(' ')).ToDictionary(l => l[0], l => l[1]);
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    private static (int Code, string Output) Execute(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }
}
