using System.Runtime.InteropServices;
using Contracts;

namespace Worker.Checks;

// Whether this host can really run an aarch64 guest under KVM. The file /dev/kvm proves nothing:
// a VM and a vCPU are made and initialized, and thrown away again.
public static unsafe class AccelerationProbe
{
    private const nuint CreateVm = 0xAE01, CreateVcpu = 0xAE41;
    private const nuint ArmVcpuInit = 0x4020AEAE, ArmPreferredTarget = 0x8020AEAF;
    private const int ReadWrite = 2 | 0x80000;
    private const int VcpuInitBytes = 32;

    /// <summary>How guests run here, and the group by which a VM's own user gets at /dev/kvm, where it needs one.</summary>
    public static (Acceleration Acceleration, string Reason, uint? KvmGroup) Probe(bool ownUserPerVm)
    {
        var (acceleration, reason) = Probe();
        if (acceleration != Acceleration.Kvm || !ownUserPerVm || LibC.Describe("/dev/kvm") is not { } device)
            return (acceleration, reason, null);
        return AccessOf(device.Mode) switch
        {
            KvmAccess.Everybody => (acceleration, reason, null),
            KvmAccess.Group => (acceleration, reason, device.Group),
            _ => (Acceleration.Tcg, "/dev/kvm is open to its owner only, and VMs have users of their own: give it a group and mode 0660.", null),
        };
    }

    internal enum KvmAccess { OwnerOnly, Group, Everybody }

    internal static KvmAccess AccessOf(UnixFileMode mode)
    {
        const UnixFileMode everybody = UnixFileMode.OtherRead | UnixFileMode.OtherWrite, group = UnixFileMode.GroupRead | UnixFileMode.GroupWrite;
        return (mode & everybody) == everybody ? KvmAccess.Everybody : (mode & group) == group ? KvmAccess.Group : KvmAccess.OwnerOnly;
    }

    private static (Acceleration Acceleration, string Reason) Probe()
    {
        if (RuntimeInformation.OSArchitecture != Architecture.Arm64)
            return (Acceleration.Tcg, $"The host's CPUs are {RuntimeInformation.OSArchitecture}, which cannot run arm64 guests in hardware.");
        var kvm = LibC.Open("/dev/kvm", ReadWrite);
        if (kvm < 0)
            return (Acceleration.Tcg, $"/dev/kvm cannot be opened (errno {Marshal.GetLastPInvokeError()}).");
        var vm = -1;
        var vcpu = -1;
        try
        {
            vm = LibC.Control(kvm, CreateVm, 0);
            if (vm < 0)
                return Refused("KVM_CREATE_VM");
            vcpu = LibC.Control(vm, CreateVcpu, 0);
            if (vcpu < 0)
                return Refused("KVM_CREATE_VCPU");
            var target = stackalloc byte[VcpuInitBytes];
            new Span<byte>(target, VcpuInitBytes).Clear();
            if (LibC.Control(vm, ArmPreferredTarget, (nint)target) < 0)
                return Refused("KVM_ARM_PREFERRED_TARGET");
            if (LibC.Control(vcpu, ArmVcpuInit, (nint)target) < 0)
                return Refused("KVM_ARM_VCPU_INIT");
            return (Acceleration.Kvm, "A VM with an initialized arm64 vCPU could be made.");
        }
        finally
        {
            foreach (var descriptor in (int[])[vcpu, vm, kvm])
                if (descriptor >= 0)
                    _ = LibC.Close(descriptor);
        }
    }

    private static (Acceleration, string) Refused(string step) => (Acceleration.Tcg, $"KVM refuses {step} (errno {Marshal.GetLastPInvokeError()}).");
}
