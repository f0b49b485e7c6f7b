using Worker.Hardware.Assignment;

namespace Worker.Vms.Qemu;

/// <summary>The values of one accelerated arm-smmuv3, from those of the physical SMMU that it stands for.</summary>
public sealed record QemuSmmu(string HostSmmu, bool Ats, bool RangeInvalidation, int OutputBits, int SubstreamBits)
{
    /// <summary>QEMU's own limit.</summary>
    private const int MostSubstreamBits = 20;
    /// <summary>The least that QEMU takes for an output size: a guest must not be promised addresses that the host's SMMU does not put out.</summary>
    private const int LeastOutputBits = 44;

    /// <summary>Pure: one for each physical SMMU, for a vIOMMU of iommufd belongs to one. Values are computed and not left to QEMU ("auto"), so that a launch can be
    /// repeated; what one device cannot, the SMMU in front of it must not promise. A <see cref="VmStartException"/> where a value is not known.</summary>
    public static IReadOnlyList<QemuSmmu> For(IReadOnlyList<AssignedFunction> functions)
    {
        foreach (var function in functions)
        {
            if (function.Access != VfioAccess.Iommufd)
                throw new VmStartException(StartReasons.IommufdMissing);
            if (!function.Nests || function.Smmu is null)
                throw new VmStartException(StartReasons.NestingUnavailable, $"It is {function.Address}.");
            if (function.Translation is null)
                throw new VmStartException(StartReasons.SmmuValuesUnknown, $"It is {function.Address}.");
            if (function.Translation.OutputBits < LeastOutputBits)
                throw new VmStartException(StartReasons.SmmuOutputTooNarrow, $"It is {function.Address}, with {function.Translation.OutputBits} bits; QEMU's takes {LeastOutputBits} or more.");
        }
        return
        [
            .. functions.GroupBy(f => f.Smmu!, StringComparer.Ordinal).OrderBy(g => g.Key, StringComparer.Ordinal).Select(behind => new QemuSmmu(
                behind.Key, behind.All(f => f.Ats), behind.All(f => f.Translation!.RangeInvalidation), behind.Min(f => f.Translation!.OutputBits) >= 48 ? 48 : LeastOutputBits,
                Math.Min(MostSubstreamBits, behind.Min(f => Math.Min(f.Translation!.SubstreamBits, f.Translation.MaxPasidBits))))),
        ];
    }
}
