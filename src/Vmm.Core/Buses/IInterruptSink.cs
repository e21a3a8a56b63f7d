namespace Vmm.Core.Buses;

/// <summary>Something with interrupt inputs: an interrupt controller or a board's router. Any thread may call.</summary>
public interface IInterruptSink
{
    /// <summary>An input changes its level. Calls for one input alternate between true and false per source line.</summary>
    /// <param name="input">The input's number at this sink.</param>
    /// <param name="level">Asserted or not.</param>
    void SetInput(int input, bool level);
}
