using Contracts;
using Worker.Console;

namespace Worker.Vms;

// Every kind of VMM that a node knows, as one: a sandbox's spec says which. Where there is none at hand, the spec that its directory keeps does,
// so that a sandbox is adopted and read by the kind that started it.
public sealed class VmmChoice(IReadOnlyDictionary<Vmm, IVmm> kinds) : IVmm
{
    public bool Check(SandboxSpec spec) => kinds.TryGetValue(spec.Vmm, out var vmm)
        ? vmm.Check(spec)
        : throw new VmStartException(StartReasons.VmmMissing, $"It is {spec.Vmm}.");

    public IVm Start(VmLaunch launch, VmTell tell) => kinds[launch.Spec.Vmm].Start(launch, tell);

    public IVm? Adopt(VmLaunch launch, ProcessIdentity? known, VmTell tell) => kinds[launch.Spec.Vmm].Adopt(launch, known, tell);

    public EndCause ReadEnd(RuntimeDirectory directory) => Of(directory).ReadEnd(directory);

    public string ReadLog(RuntimeDirectory directory) => Of(directory).ReadLog(directory);

    public SerialConsole? OpenConsole(RuntimeDirectory directory) => Of(directory).OpenConsole(directory);

    /// <summary>QEMU where the spec was lost: that record cannot be started anyway.</summary>
    private IVmm Of(RuntimeDirectory directory) => kinds[VmFiles.ReadSpec(directory)?.Vmm ?? Vmm.Qemu];
}
