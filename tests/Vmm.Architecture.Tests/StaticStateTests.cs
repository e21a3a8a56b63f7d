using System.Reflection;
using System.Runtime.CompilerServices;

namespace Vmm.Architecture.Tests;

/// <summary>Everything hangs from a machine: a thousand of them live in one process.</summary>
public class StaticStateTests
{
    public static TheoryData<string> Assemblies => [.. Packages.Names];

    [Theory]
    [MemberData(nameof(Assemblies))]
    public void Assembly_HasNoMutableStatics(string name)
    {
        List<string> wrong = [];
        foreach (var type in Packages.Load(name).GetTypes().Where(t => !t.FullName!.Contains('<') && t.GetCustomAttribute<CompilerGeneratedAttribute>() is null))
        {
            foreach (var field in type.GetFields(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly))
            {
                if (field is { IsInitOnly: false, IsLiteral: false }) wrong.Add($"{type.FullName}.{field.Name}: not readonly");
                if (field.GetCustomAttribute<ThreadStaticAttribute>() is not null) wrong.Add($"{type.FullName}.{field.Name}: per thread");
                if (IsGrowing(field.FieldType)) wrong.Add($"{type.FullName}.{field.Name}: a {field.FieldType.Name} can be changed; use an immutable or frozen collection");
            }
        }

        Rules.None(wrong);
    }

    private static bool IsGrowing(Type type) =>
        type.IsGenericType && type.Namespace is "System.Collections.Generic" or "System.Collections.Concurrent" && type is { IsInterface: false, IsValueType: false } &&
        (type.Name.StartsWith("List", StringComparison.Ordinal) || type.Name.StartsWith("Dictionary", StringComparison.Ordinal) || type.Name.StartsWith("HashSet", StringComparison.Ordinal)
            || type.Name.StartsWith("Queue", StringComparison.Ordinal) || type.Name.StartsWith("Concurrent", StringComparison.Ordinal));
}
