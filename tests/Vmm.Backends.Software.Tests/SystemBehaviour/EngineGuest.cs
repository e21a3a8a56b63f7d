using Iced.Intel;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>A <see cref="SystemGuest"/> on an engine.</summary>
internal sealed class SystemGuest<TEngine> : SystemGuest where TEngine : IEngine
{
    public SystemGuest(int bitness, Action<Assembler> body, int vcpus = 1, bool user = false, int nanosecondsPerInstruction = 0)
        : this(bitness, (a, _) => body(a), vcpus, user, nanosecondsPerInstruction)
    {
    }

    public SystemGuest(int bitness, Action<Assembler, Action<string>> body, int vcpus = 1, bool user = false, int nanosecondsPerInstruction = 0)
        : base(TEngine.Engine, TEngine.TranslateAfter, TEngine.CodePart, bitness, body, vcpus, user, nanosecondsPerInstruction)
    {
    }
}
