using Worker.Tests.Faults.Tracing;
using Worker.Tests.Hardware.Assignment;
using Worker.Hardware;
using Worker.Faults;
using System.Runtime.InteropServices;
using Contracts;
using Microsoft.Extensions.Logging.Abstractions;
using Worker.Checks;
using Worker.Hardware.Pci;
using Worker.Images;
using Worker.Vms;
using Worker.Vms.Kvmtool;
using Xunit;

namespace Worker.Tests.Kvmtool;

public sealed class KvmtoolLimitsTests
{
    private const long Mib = 1 << 20;

    private static IReadOnlyList<PciBar> Bars(params long[] sizes) => [.. sizes.Select((size, index) => new PciBar(index, Math.Abs(size), size > 0))];

    // Each inner list is one function's registers; a size below zero stands for I/O ports.
    public static TheoryData<long[][], string?> Windows => new()
    {
        { [], null },
        { [[]], null },
        { [[16384]], null },
        { [[256 * Mib], [256 * Mib], [256 * Mib]], null },
        { [[256 * Mib], [256 * Mib], [256 * Mib], [4096]], "BarWindowTooSmall" },
        { [[512 * Mib]], null },
        // The window begins at an odd multiple of 256 MiB: what comes before a region of 512 MiB has room there, what follows has none.
        { [[16 * Mib], [512 * Mib]], null },
        { [[512 * Mib], [16 * Mib]], "BarWindowTooSmall" },
        { [[16 * Mib, 512 * Mib]], "BarWindowTooSmall" },
        { [[1024 * Mib]], "BarWindowTooSmall" },
        { [[16 * Mib, 1L << 37, 32 * Mib]], "BarWindowTooSmall" },
        { [[1L << 62]], "BarWindowTooSmall" },
        { [[256 * Mib, -128], [-4096]], null },
        // A page of 64 KiB each, however small.
        { [.. Enumerable.Repeat<long[]>([128], 12288)], null },
        { [.. Enumerable.Repeat<long[]>([128], 12289)], "BarWindowTooSmall" },
        { [[3 * Mib]], "BarSizeUnsupported" },
    };

    [Theory]
    [MemberData(nameof(Windows))]
    public void BarWindow_ForTheFunctionsOfASandbox(long[][] functions, string? reason) =>
        Assert.Equal(reason, KvmtoolBarWindow.Problem([.. functions.Select((sizes, index) => ($"0000:{index & 0xff:x2}:00.0", Bars(sizes)))])?.Reason);

    private static KvmtoolFacts Facts(params string[] without) =>
        new("/usr/bin/lkvm", "3.18.0", KvmtoolCommandLine.Needed.Append("nodefaults").Append("loglevel").Except(without).ToHashSet(), []);

    private static string? Refusal(KvmtoolFacts facts, SandboxSpec spec, Acceleration acceleration = Acceleration.Kvm, Architecture architecture = Architecture.Arm64)
    {
        using var images = new TemporaryDirectory();
        StandInLkvm.WriteImage(images);
        Images.DiskImageTests.Write(images, "cloud", "raw", [1]);
        var vmm = new KvmtoolVmm(
            new KvmtoolHost(facts, acceleration, architecture, null, address => address.Bus switch { 1 => Bars(16 * Mib), 2 => Bars(1024 * Mib), _ => null }),
            new ImageCatalogue(images.FullPath), new HostFaults(HostTree.Machine, NoTracing.Anywhere, Origin.Hardware, TimeProvider.System, NullLogger.Instance), TimeProvider.System, NullLogger.Instance);
        try
        {
            Assert.False(vmm.Check(spec));
            return null;
        }
        catch (VmStartException problem)
        {
            Assert.NotEmpty(problem.Remedy);
            return problem.Reason;
        }
    }

    private static SandboxSpec Spec(Viommu viommu = Viommu.None, string image = "guest", params string[] devices) => new(image, 1, 128, viommu, devices, null, [], Vmm.Kvmtool);

    [Fact]
    public void Check_WhatKvmtoolCan_HasNoAgent() => Assert.Null(Refusal(Facts(), Spec(devices: "0000:01:00.0")));

    [Fact]
    public void Check_EachLimit_HasItsReason()
    {
        Assert.Equal("KvmtoolMissing", Refusal(KvmtoolFacts.None, Spec()));
        Assert.Equal("KvmtoolTooOld", Refusal(Facts("vfio-pci"), Spec()));
        Assert.Equal("LauncherProgramMissing", Refusal(Facts() with { MissingPrograms = ["script"] }, Spec()));
        Assert.Equal("KvmtoolNeedsKvm", Refusal(Facts(), Spec(), Acceleration.Tcg));
        Assert.Equal("KvmtoolNeedsKvm", Refusal(Facts(), Spec(), architecture: Architecture.X64));
        Assert.Equal("ViommuUnsupported", Refusal(Facts(), Spec(Viommu.Smmuv3)));
        Assert.Equal("ViommuUnsupported", Refusal(Facts(), Spec(Viommu.Virtio)));
        Assert.Equal("KvmtoolEmulatesNothing", Refusal(Facts(), Spec(devices: "edu-0")));
        Assert.Equal("BarsUnread", Refusal(Facts(), Spec(devices: "0000:03:00.0")));
        Assert.Equal("BarWindowTooSmall", Refusal(Facts(), Spec(devices: ["0000:01:00.0", "0000:02:00.0"])));
        Assert.Equal("ImageMissing", Refusal(Facts(), Spec(image: "none")));
        Assert.Equal("InitrdNeeded", Refusal(Facts("nodefaults"), Spec(image: "bare")));
        Assert.Null(Refusal(Facts(), Spec(image: "bare")));
        Assert.Equal("DiskImageUnsupported", Refusal(Facts(), Spec(image: "cloud")));
    }
}
