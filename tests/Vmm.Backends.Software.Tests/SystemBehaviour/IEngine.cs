namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>How the guests of a class of tests are run.</summary>
public interface IEngine
{
    static abstract CpuEngine Engine { get; }
}

/// <summary>By the interpreter.</summary>
public sealed class Interpreted : IEngine
{
    public static CpuEngine Engine => CpuEngine.Interpret;
}

/// <summary>By the translator, before any code is run for the first time.</summary>
public sealed class Translated : IEngine
{
    public static CpuEngine Engine => CpuEngine.Translate;
}
