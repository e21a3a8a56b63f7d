using System.Reflection;
using System.Runtime.CompilerServices;
using Vmm.Core.State;

namespace Vmm.Architecture.Tests;

/// <summary>
/// Everything the guest can observe of a device is in its nested struct State, and all of that is visited. Each field is changed by
/// itself: if what is saved does not change, nobody visits it.
/// </summary>
public class StateVisitTests
{
    private const BindingFlags Fields = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;

    public static TheoryData<string, string> Units
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (var name in Packages.Names)
            {
                foreach (var type in Packages.Load(name).GetTypes().Where(IsUnit).OrderBy(t => t.FullName)) data.Add(name, type.FullName!);
            }

            return data;
        }
    }

    private static bool IsUnit(Type type) => type is { IsClass: true, IsAbstract: false, ContainsGenericParameters: false } && type.IsAssignableTo(typeof(IStateful)) && StateField(type) is not null;

    [Theory]
    [MemberData(nameof(Units))]
    public void State_EveryField_IsVisited(string assembly, string name)
    {
        var type = Packages.Load(assembly).GetType(name, throwOnError: true)!;
        var field = StateField(type)!;
        List<string> missing = [];
        foreach (var leaf in Leaves(field.FieldType, []))
        {
            var unit = Make(type);
            var before = StateWriter.Save(unit);
            var state = field.GetValue(unit)!;
            if (!Change(ref state, leaf, 0)) continue;
            field.SetValue(unit, state);
            if (StateWriter.Save(unit).AsSpan().SequenceEqual(before)) missing.Add($"{type.Name}.{field.Name}.{string.Join('.', leaf.Select(f => f.Name))} is not visited by {nameof(IStateful.VisitState)}");
        }

        Rules.None(missing);
    }

    [Theory]
    [MemberData(nameof(Units))]
    public void State_SavedAndLoaded_IsTheSame(string assembly, string name)
    {
        var type = Packages.Load(assembly).GetType(name, throwOnError: true)!;
        var saved = StateWriter.Save(Make(type));
        var loaded = Make(type);
        StateReader.Load(name, saved, loaded);
        Assert.Equal(saved, StateWriter.Save(loaded));
    }

    private static FieldInfo? StateField(Type type) => type.GetFields(Fields).FirstOrDefault(f => f.FieldType == type.GetNestedType("State", BindingFlags.Public | BindingFlags.NonPublic));

    private static IStateful Make(Type type) => (IStateful)Fakes.Create(type);

    /// <summary>The fields that hold numbers, each as its path through nested structs.</summary>
    private static IEnumerable<FieldInfo[]> Leaves(Type type, FieldInfo[] path)
    {
        foreach (var field in type.GetFields(Fields))
        {
            FieldInfo[] inner = [.. path, field];
            var isStruct = field.FieldType is { IsValueType: true, IsPrimitive: false, IsEnum: false } && field.FieldType.GetCustomAttribute<FixedBufferAttribute>() is null;
            if (!isStruct) yield return inner;
            else foreach (var leaf in Leaves(field.FieldType, inner)) yield return leaf;
        }
    }

    private static bool Change(ref object container, FieldInfo[] path, int depth)
    {
        var value = path[depth].GetValue(container);
        if (depth < path.Length - 1)
        {
            if (value is null || !Change(ref value, path, depth + 1)) return false;
        }
        else
        {
            value = Changed(value);
            if (value is null) return false;
        }

        path[depth].SetValue(container, value);
        return true;
    }

    /// <summary>Another value of the same type; null for what holds no guest-visible value (a delegate, another object).</summary>
    private static object? Changed(object? value)
    {
        switch (value)
        {
            case bool b: return !b;
            case char c: return (char)(c ^ 1);
            case float f: return f + 1;
            case double d: return d + 1;
            case Enum e: return Enum.ToObject(e.GetType(), (ulong)Convert.ToInt64(e) ^ 1);
            case Array { Length: > 0 } array:
                var copy = (Array)array.Clone();
                copy.SetValue(Changed(copy.GetValue(0)), 0);
                return copy;
            case IConvertible number and not string: return Convert.ChangeType(Convert.ToDecimal(number) % 2 == 0 ? Convert.ToDecimal(number) + 1 : Convert.ToDecimal(number) - 1, number.GetType());
            default: return null;
        }
    }
}
