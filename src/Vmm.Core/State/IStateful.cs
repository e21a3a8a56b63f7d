namespace Vmm.Core.State;

/// <summary>Something whose guest-visible state can be saved, loaded, dumped and compared, all by one description.</summary>
public interface IStateful
{
    /// <summary>Names every field that the guest can observe, each once, with a tag that is never reused.</summary>
    /// <param name="visitor">Reads or writes the fields.</param>
    void VisitState(StateVisitor visitor);

    /// <summary>Called after a load: validate what the fields must satisfy, and recompute what is derived from them.</summary>
    void OnStateLoaded() { }
}
