namespace Vmm.Backends.Software.Tests.SystemBehaviour;

// Every class of tests by each engine.
public sealed class CrampedSelfModifyingTests : SelfModifyingTests<Cramped>;

public sealed class CrampedKernelCodeTests : KernelCodeTests<Cramped>;

public sealed class CrampedLoopTests : LoopTests<CrampedWarmed>;

public sealed class InterpretedAddressSpaceTests : AddressSpaceTests<Interpreted>;

public sealed class InterpretedCodeWritingTests : CodeWritingTests<Interpreted>;

public sealed class InterpretedExceptionTests : ExceptionTests<Interpreted>;

public sealed class InterpretedHostileCodeTests : HostileCodeTests<Interpreted>;

public sealed class InterpretedHostileProcessorTests : HostileProcessorTests<Interpreted>;

public sealed class InterpretedKernelCodeTests : KernelCodeTests<Interpreted>;

public sealed class InterpretedLocalApicTests : LocalApicTests<Interpreted>;

public sealed class InterpretedLongModeTests : LongModeTests<Interpreted>;

public sealed class InterpretedLoopTests : LoopTests<Interpreted>;

public sealed class InterpretedNearbyAccessTests : NearbyAccessTests<Interpreted>;

public sealed class InterpretedPagingTests : PagingTests<Interpreted>;

public sealed class InterpretedProcessorsTests : ProcessorsTests<Interpreted>;

public sealed class InterpretedRealModeTests : RealModeTests<Interpreted>;

public sealed class InterpretedSegmentationTests : SegmentationTests<Interpreted>;

public sealed class InterpretedSelfModifyingTests : SelfModifyingTests<Interpreted>;

public sealed class InterpretedStateTests : StateTests<Interpreted>;

public sealed class InterpretedStringTests : StringTests<Interpreted>;

public sealed class InterpretedTaskSwitchTests : TaskSwitchTests<Interpreted>;

public sealed class InterpretedTripleFaultTests : TripleFaultTests<Interpreted>;

public sealed class InterpretedVirtual8086Tests : Virtual8086Tests<Interpreted>;

public sealed class TranslatedAddressSpaceTests : AddressSpaceTests<Translated>;

public sealed class TranslatedCodeWritingTests : CodeWritingTests<Translated>;

public sealed class TranslatedExceptionTests : ExceptionTests<Translated>;

public sealed class TranslatedHostileCodeTests : HostileCodeTests<Translated>;

public sealed class TranslatedHostileProcessorTests : HostileProcessorTests<Translated>;

public sealed class TranslatedKernelCodeTests : KernelCodeTests<Translated>;

public sealed class TranslatedLocalApicTests : LocalApicTests<Translated>;

public sealed class TranslatedLongModeTests : LongModeTests<Translated>;

public sealed class TranslatedLoopTests : LoopTests<Translated>;

public sealed class TranslatedNearbyAccessTests : NearbyAccessTests<Translated>;

public sealed class TranslatedPagingTests : PagingTests<Translated>;

public sealed class TranslatedProcessorsTests : ProcessorsTests<Translated>;

public sealed class TranslatedRealModeTests : RealModeTests<Translated>;

public sealed class TranslatedSegmentationTests : SegmentationTests<Translated>;

public sealed class TranslatedSelfModifyingTests : SelfModifyingTests<Translated>;

public sealed class TranslatedStateTests : StateTests<Translated>;

public sealed class TranslatedStringTests : StringTests<Translated>;

public sealed class TranslatedTaskSwitchTests : TaskSwitchTests<Translated>;

public sealed class TranslatedTripleFaultTests : TripleFaultTests<Translated>;

public sealed class TranslatedVirtual8086Tests : Virtual8086Tests<Translated>;

public sealed class WarmedCodeWritingTests : CodeWritingTests<Warmed>;

public sealed class WarmedExceptionTests : ExceptionTests<Warmed>;

public sealed class WarmedHostileCodeTests : HostileCodeTests<Warmed>;

public sealed class WarmedLoopTests : LoopTests<Warmed>;

public sealed class WarmedNearbyAccessTests : NearbyAccessTests<Warmed>;

public sealed class WarmedPagingTests : PagingTests<Warmed>;

public sealed class WarmedProcessorsTests : ProcessorsTests<Warmed>;

public sealed class WarmedSelfModifyingTests : SelfModifyingTests<Warmed>;

public sealed class WarmedStateTests : StateTests<Warmed>;
