using System.Globalization;
using System.Numerics;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using Vmm.Backends.Whp.Interop;

namespace Vmm.Backends.Whp.Tests.Interop;

/// <summary>Every native structure, constant and function of the backend against the published headers.</summary>
public sealed class HeaderTests : IDisposable
{
    /// <summary>Where the integer that holds a bit-field begins, in bits, if not at the structure's start.</summary>
    private static readonly Dictionary<string, int> Containers = new()
    {
        ["WHV_VP_EXIT_CONTEXT"] = 16,
        ["WHV_DOORBELL_MATCH_DATA"] = 160,
    };

    /// <summary>Fields that stand for unnamed bit-fields of the header.</summary>
    private static readonly string[] Unnamed = ["WHV_VP_EXIT_CONTEXT.InstructionLengthAndCr8", "WHV_INTERRUPT_CONTROL.Control", "WHV_DOORBELL_MATCH_DATA.Matching"];

    /// <summary>A function table of ours whose type is a structure of the header.</summary>
    private static readonly Assembly Backend = typeof(WhpHypervisor).Assembly;

    private readonly HeaderProbe _probe = new();

    private static IEnumerable<Type> Structures => Backend.GetTypes().Where(t => t is { IsValueType: true, IsEnum: false } && t.Name.StartsWith("WHV_", StringComparison.Ordinal));

    private static IEnumerable<Type> Enumerations => Backend.GetTypes().Where(t => t.IsEnum && t.Name.StartsWith("WHV_", StringComparison.Ordinal));

    [Fact]
    public void Constants_AreThoseOfTheHeader()
    {
        HeaderProbe.Require();
        var native = _probe.Run(Enumerations.SelectMany(t => Enum.GetNames(t)).Select(n => $"OUT(\"{n}\", (UINT32){n});"));

        var wrong = Enumerations.SelectMany(t => Enum.GetNames(t).Select(n => (Name: n, Value: Convert.ToUInt64(Enum.Parse(t, n), CultureInfo.InvariantCulture))))
            .Where(c => native[c.Name] != c.Value).Select(c => $"{c.Name} is {c.Value:x}, the header has {native[c.Name]:x}").ToList();

        Assert.Empty(wrong);
        Assert.True(native.Count > 200, $"only {native.Count} constants were compared");
    }

    [Fact]
    public void Structures_HaveTheSizesAndOffsetsOfTheHeader()
    {
        HeaderProbe.Require();
        List<string> statements = [];
        Dictionary<string, ulong> ours = [];
        foreach (var type in Structures)
        {
            statements.Add($"OUT(\"{type.Name}\", sizeof({type.Name}));");
            ours[type.Name] = (ulong)SizeOf(type);
            foreach (var field in type.GetFields(BindingFlags.Instance | BindingFlags.Public))
            {
                var name = $"{type.Name}.{field.Name}";
                if (Unnamed.Contains(name)) continue;
                statements.Add($"OUT(\"{name}\", offsetof({type.Name}, {field.Name}));");
                statements.Add($"OUT(\"{name}.size\", sizeof((({type.Name} *)0)->{field.Name}));");
                ours[name] = (ulong)OffsetOf(type, field);
                ours[name + ".size"] = (ulong)SizeOf(field.FieldType);
            }
        }

        var native = _probe.Run(statements);

        Assert.Empty(ours.Where(o => native[o.Key] != o.Value).Select(o => $"{o.Key} is {o.Value}, the header has {native[o.Key]}"));
        Assert.True(ours.Count > 150, $"only {ours.Count} sizes and offsets were compared");
    }

    [Fact]
    public void BitFields_AreWhereTheHeaderHasThem()
    {
        HeaderProbe.Require();
        var masks = Structures.SelectMany(t => t.GetFields(BindingFlags.Static | BindingFlags.Public).Where(f => f.IsLiteral).Select(f => (Type: t, Field: f))).ToList();
        var native = _probe.Run(masks.Select(m => $"BITS({m.Type.Name}, {m.Field.Name})"));

        List<string> wrong = [];
        foreach (var (type, field) in masks)
        {
            var mask = Convert.ToUInt64(field.GetRawConstantValue(), CultureInfo.InvariantCulture);
            var name = $"{type.Name}.{field.Name}";
            var first = BitOperations.TrailingZeroCount(mask) + Containers.GetValueOrDefault(type.Name);
            if (native[name + ".first"] != (ulong)first || native[name + ".count"] != (ulong)BitOperations.PopCount(mask))
            {
                wrong.Add($"{name} begins at bit {first}, the header has {native[name + ".count"]} bits from {native[name + ".first"]}");
            }
        }

        Assert.Empty(wrong);
        Assert.True(masks.Count > 80, $"only {masks.Count} bit-fields were compared");
    }

    [Fact]
    public void Functions_HaveTheParametersOfTheHeader()
    {
        HeaderProbe.Require();
        var prototypes = Regex.Matches(HeaderProbe.Platform + HeaderProbe.Emulation, @"HRESULT WINAPI (\w+)\(([^)]*)\);")
            .Concat(Regex.Matches(HeaderProbe.Emulation, @"HRESULT \(CALLBACK \*(\w+)\)\(([^)]*)\);"))
            .ToDictionary(m => m.Groups[1].Value, m => m.Groups[2].Value.Split(','));
        Dictionary<string, string> callbacks = new()
        {
            ["WHvEmulatorIoPortCallback"] = "WHV_EMULATOR_IO_PORT_CALLBACK",
            ["WHvEmulatorMemoryCallback"] = "WHV_EMULATOR_MEMORY_CALLBACK",
            ["WHvEmulatorGetVirtualProcessorRegisters"] = "WHV_EMULATOR_GET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK",
            ["WHvEmulatorSetVirtualProcessorRegisters"] = "WHV_EMULATOR_SET_VIRTUAL_PROCESSOR_REGISTERS_CALLBACK",
            ["WHvEmulatorTranslateGvaPage"] = "WHV_EMULATOR_TRANSLATE_GVA_PAGE_CALLBACK",
        };
        var ours = typeof(WhpFunctions).GetFields().Concat(typeof(WHV_EMULATOR_CALLBACKS).GetFields()).Where(f => f.FieldType.IsFunctionPointer).ToList();

        List<string> wrong = [];
        foreach (var function in ours)
        {
            var sizes = function.FieldType.GetFunctionPointerParameterTypes().Select(SizeOf).ToArray();
            var native = prototypes[callbacks.GetValueOrDefault(function.Name, function.Name)].Select(NativeSize).ToArray();
            if (!sizes.SequenceEqual(native)) wrong.Add($"{function.Name}: parameters of {string.Join(',', sizes)} bytes, the header has {string.Join(',', native)}");
            if (function.FieldType.GetFunctionPointerReturnType() != typeof(int)) wrong.Add($"{function.Name}: does not return an HRESULT");
        }

        Assert.Empty(wrong);
        Assert.True(ours.Count > 30, $"only {ours.Count} functions were compared");
    }

    public void Dispose() => _probe.Dispose();

    // By the type of a parameter; enumerations are four bytes, and what is not a number is a pointer or handle.
    private static int NativeSize(string parameter)
    {
        if (parameter.Contains('*', StringComparison.Ordinal)) return 8;
        var type = parameter.Replace("const ", "", StringComparison.Ordinal).Trim().Split(' ')[0];
        if (type is "HANDLE" or "PVOID" or "UINT64" or "WHV_GUEST_PHYSICAL_ADDRESS" or "WHV_GUEST_VIRTUAL_ADDRESS" or "WHV_PARTITION_HANDLE" or "WHV_EMULATOR_HANDLE" or "WHV_ACCESS_GPA_CONTROLS") return 8;
        return type is "UINT32" || Regex.IsMatch(HeaderProbe.Definitions, $@"typedef enum {type} ") ? 4 : throw new InvalidOperationException($"the size of {type} is not known here");
    }

    private static int SizeOf(Type type) => type.IsPointer || type.IsFunctionPointer ? 8 : (int)typeof(Unsafe).GetMethod(nameof(Unsafe.SizeOf))!.MakeGenericMethod(type).Invoke(null, null)!;

    private static int OffsetOf(Type type, FieldInfo field)
    {
        // The address of a field in an array element less that of the element: what the runtime does, whatever attributes say.
        var method = new DynamicMethod("OffsetOf", typeof(int), [typeof(object)], typeof(HeaderTests).Module, true);
        var il = method.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Unbox, type);
        il.Emit(OpCodes.Ldflda, field);
        il.Emit(OpCodes.Conv_I);
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Unbox, type);
        il.Emit(OpCodes.Conv_I);
        il.Emit(OpCodes.Sub);
        il.Emit(OpCodes.Conv_I4);
        il.Emit(OpCodes.Ret);
        return (int)method.Invoke(null, [RuntimeHelpers.GetUninitializedObject(type)])!;
    }
}
