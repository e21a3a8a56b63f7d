namespace Vmm.TestSupport.Virtio;

/// <summary>The kinds of things a hostile driver does.</summary>
public enum HostileAction
{
    WriteStatus,
    WriteFeatures,
    SelectQueue,
    SetQueueSize,
    SetQueueAreas,
    EnableQueue,
    ResetQueue,
    Notify,
    WriteDescriptor,
    WriteIndirectTable,
    OfferHead,
    PokeQueue,
    PokeData,
    ReadConfig,
    WriteConfig,
    ReadRegister,
    WriteRegister,
    GoodRequest,
    OddRequest,
    Initialize,
    TakeUsed,
    SetInterrupts,
}
