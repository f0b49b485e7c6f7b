using Worker.Hardware;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Worker.Vms;
using Worker.Vms.Qemu;
using Xunit;

namespace Worker.Tests.Qemu;

public sealed class QemuSmmuTests
{
    internal const string First = "smmu3.0x0000000011000000", Second = "smmu3.0x0000000012000000";

    internal static SmmuHardware Told(int substreams = 16, int output = 48, bool ril = true, int pasid = 20) => new(substreams, 32, output, 1, ril, pasid, 0x43B, 0x487);

    internal static AssignedFunction Function(string address, VfioAccess access = VfioAccess.Iommufd, string? smmu = First, SmmuHardware? told = null, bool nests = true, bool ats = true) =>
        new(PciAddress.TryParse(address, out var at) ? at : throw new ArgumentException(address), access, "/dev/vfio/devices/vfio0", smmu, 0, told ?? Told(), nests, ats);

    public static TheoryData<int, int> OutputSizes => new() { { 52, 48 }, { 48, 48 }, { 44, 44 } };

    [Theory]
    [MemberData(nameof(OutputSizes))]
    public void For_EachOutputSize_IsOneThatQemuTakesAndTheHostHas(int host, int guest) =>
        Assert.Equal(guest, Assert.Single(QemuSmmu.For([Function("0009:01:00.0", told: Told(output: host))])).OutputBits);

    [Theory]
    [InlineData(16, 20, 16)]
    [InlineData(20, 16, 16)]
    [InlineData(31, 31, 20)]
    [InlineData(20, 20, 20)]
    [InlineData(16, 0, 0)]
    [InlineData(0, 20, 0)]
    public void For_EachSubstreamWidth_IsTheNarrowestOfSmmuDeviceAndQemu(int smmu, int device, int guest) =>
        Assert.Equal(guest, Assert.Single(QemuSmmu.For([Function("0009:01:00.0", told: Told(substreams: smmu, pasid: device))])).SubstreamBits);

    [Fact]
    public void For_NoDevice_IsNone() => Assert.Empty(QemuSmmu.For([]));

    [Fact]
    public void For_SeveralBehindOne_PromisesWhatEachOfThemCan() => Assert.Equal(
        [new QemuSmmu(First, false, false, 44, 8)],
        QemuSmmu.For([
            Function("0009:01:00.0"), Function("0009:02:00.0", ats: false), Function("0009:03:00.0", told: Told(ril: false)),
            Function("0009:04:00.0", told: Told(output: 44)), Function("0009:05:00.0", told: Told(pasid: 8)),
        ]));

    [Fact]
    public void For_SeveralBehindTwo_KeepsTheirValuesApartAndTheirOrderFixed()
    {
        AssignedFunction[] functions = [Function("0001:01:00.0", smmu: Second, ats: false), Function("0009:01:00.0"), Function("0001:02:00.0", smmu: Second, told: Told(pasid: 4))];
        QemuSmmu[] expected = [new(First, true, true, 48, 16), new(Second, false, true, 48, 4)];
        Assert.Equal(expected, QemuSmmu.For(functions));
        Assert.Equal(expected, QemuSmmu.For([.. functions.Reverse()]));
    }

    private static readonly Dictionary<string, AssignedFunction> Refused = new()
    {
        ["IommufdMissing"] = Function("0009:01:00.0", VfioAccess.Container),
        ["NestingUnavailable"] = Function("0009:01:00.0", nests: false),
        ["NestingUnavailable of no SMMU"] = Function("0009:01:00.0", smmu: null),
        ["SmmuValuesUnknown"] = Function("0009:01:00.0") with { Translation = null },
        ["SmmuOutputTooNarrow"] = Function("0009:01:00.0", told: Told(output: 42)),
    };

    public static TheoryData<string> RefusedNames => [.. Refused.Keys];

    [Theory]
    [MemberData(nameof(RefusedNames))]
    public void For_OneThatCannot_SaysWhyEvenBesideOthersThatCan(string reason)
    {
        var problem = Assert.Throws<VmStartException>(() => QemuSmmu.For([Function("0001:01:00.0"), Refused[reason]]));
        Assert.Equal(reason.Split(' ')[0], problem.Reason);
        Assert.NotEmpty(problem.Remedy);
    }
}
