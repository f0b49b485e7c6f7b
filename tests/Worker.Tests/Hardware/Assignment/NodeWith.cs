using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Hardware;
using Worker.Hardware.Assignment;

namespace Worker.Tests.Hardware.Assignment;

/// <summary>A node's devices, without an offered function of the host unless a test gives one.</summary>
internal static class NodeWith
{
    public static NodeDevices Devices(EmulatedDevices emulated, string stateDirectory, TimeProvider time, AssignedDevices? assigned = null) => new(
        emulated, assigned ?? new AssignedDevices(
            [], HostTree.Machine, new FakeHost(HostTree.Machine), HardwareInventory.None, QemuFacts.None, stateDirectory, time, NullLogger.Instance), QemuFacts.None, Acceleration.Kvm, _ => false);
}
