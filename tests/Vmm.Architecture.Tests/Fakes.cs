using System.Linq.Expressions;
using System.Reflection;
using Vmm.Core.Buses;
using Vmm.Core.Memory;
using Vmm.Core.Time;

namespace Vmm.Architecture.Tests;

/// <summary>Makes objects by their constructors, with arguments that do nothing.</summary>
internal static class Fakes
{
    public static object Create(Type type)
    {
        var constructor = type.GetConstructors(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic).Where(c => !c.IsPrivate).MinBy(c => c.GetParameters().Length)
            ?? throw new InvalidOperationException($"{type} has no constructor to call.");
        return constructor.Invoke([.. constructor.GetParameters().Select(p => Argument(p, type))]);
    }

    private static object? Argument(ParameterInfo parameter, Type owner)
    {
        var type = parameter.ParameterType;
        if (parameter.HasDefaultValue) return parameter.DefaultValue;
        if (type == typeof(VmClock)) return new VmClock(TimeProvider.System);
        if (type == typeof(TimeProvider)) return TimeProvider.System;
        if (type == typeof(InterruptLine)) return InterruptLine.Unconnected;
        if (type == typeof(GuestMemory)) return new GuestMemory();
        if (type == typeof(SystemBus)) return new SystemBus(new GuestMemory());
        if (type == typeof(Stream)) return Stream.Null;
        if (type == typeof(string)) return "fake";
        if (type.IsAssignableTo(typeof(Delegate))) return Nothing(type);
        if (type.IsValueType) return Activator.CreateInstance(type);
        if (type == typeof(object) || type.IsArray) return type.IsArray ? Array.CreateInstance(type.GetElementType()!, 0) : new object();
        if (type.Namespace?.StartsWith("Vmm", StringComparison.Ordinal) == true && type is { IsClass: true, IsAbstract: false } && type != owner) return Create(type);
        if (type.IsInterface || type.IsAbstract)
        {
            var implementation = owner.Assembly.GetTypes().FirstOrDefault(t => t is { IsClass: true, IsAbstract: false, ContainsGenericParameters: false } && t.IsAssignableTo(type) && t != owner);
            if (implementation is not null) return Create(implementation);
        }

        throw new InvalidOperationException($"{nameof(Fakes)} knows no {type} for '{parameter.Name}' of {owner}; add one.");
    }

    private static Delegate Nothing(Type type)
    {
        var invoke = type.GetMethod("Invoke")!;
        var parameters = invoke.GetParameters().Select(p => Expression.Parameter(p.ParameterType)).ToArray();
        return Expression.Lambda(type, Expression.Default(invoke.ReturnType), parameters).Compile();
    }
}
