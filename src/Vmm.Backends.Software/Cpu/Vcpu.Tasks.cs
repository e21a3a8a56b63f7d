namespace Vmm.Backends.Software.Cpu;

/// <summary>Hardware task switching (Intel SDM vol. 3, chapter 9).</summary>
internal sealed partial class Vcpu
{
    /// <summary>What caused a task switch.</summary>
    internal enum TaskSwitch
    {
        /// <summary>JMP to a TSS or task gate.</summary>
        Jump,

        /// <summary>CALL.</summary>
        Call,

        /// <summary>An interrupt or exception through a task gate.</summary>
        Gate,

        /// <summary>IRET with NT set.</summary>
        Return,
    }

    /// <summary>Switches to the task of a TSS descriptor.</summary>
    public bool TrySwitchTask(ushort selector, ulong descriptor, TaskSwitch cause) => Raise(Vector.TS, selector & 0xFFFCu);
}
