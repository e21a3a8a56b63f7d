using Vmm.Backends.Conformance.Software;
using Vmm.Backends.Conformance.Topics;

namespace Vmm.Backends.Conformance.Kvm;

// Every topic, on this backend.
public sealed class KvmCarryTests : CarryTests<KvmBackend>;

public sealed class KvmCpuidTests : CpuidTests<KvmBackend>;

public sealed class KvmExceptionTests : ExceptionTests<KvmBackend>;

public sealed class KvmHaltTests : HaltTests<KvmBackend>;

public sealed class KvmInterruptTests : InterruptTests<KvmBackend>;

public sealed class KvmMemoryTests : MemoryTests<KvmBackend>;

public sealed class KvmMmioTests : MmioTests<KvmBackend>;

public sealed class KvmMsrTests : MsrTests<KvmBackend>;

public sealed class KvmNmiTests : NmiTests<KvmBackend>;

public sealed class KvmPortTests : PortTests<KvmBackend>;

public sealed class KvmProcessorTests : ProcessorTests<KvmBackend>;

public sealed class KvmRaceTests : RaceTests<KvmBackend>;

public sealed class KvmRunTests : RunTests<KvmBackend>;

public sealed class KvmStateTests : StateTests<KvmBackend>;

public sealed class KvmDifferentialTests : DifferentialTests<KvmBackend, SoftwareBackend>;
