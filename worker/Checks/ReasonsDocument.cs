using System.Text;
using Contracts;
using Worker.Hardware.Verdicts;

namespace Worker.Checks;

// Pure: the tables of reason codes as Markdown, for docs/neoverse-node.md; a test keeps the two the same.
public static class ReasonsDocument
{
    public static string Markdown()
    {
        var text = new StringBuilder();
        foreach (var link in Enum.GetValues<VerdictLinkName>())
        {
            text.Append("### ").Append(link switch { VerdictLinkName.IommuGroup => "IOMMU group", VerdictLinkName.Smmu => "SMMU", VerdictLinkName.Vmm => "VMM", _ => link.ToString() }).Append("\n\n| code | status | meaning | remedy |\n| --- | --- | --- | --- |\n");
            foreach (var reason in SvaReasons.All.Where(r => r.Link == link))
                Row(text, reason.Code, reason.Status.ToString(), reason.Message, reason.Remedy ?? "");
            text.Append('\n');
        }
        text.Append("### Lines of logs\n\n| code | found in | meaning | remedy |\n| --- | --- | --- | --- |\n");
        foreach (var known in KnownFailures.All)
            Row(text, known.Code, known.Source == LogSource.Kernel ? "kernel log" : "VMM's output", known.Message, known.Remedy);
        return text.ToString();
    }

    private static void Row(StringBuilder text, params string[] cells)
    {
        text.Append('|');
        foreach (var (index, cell) in cells.Index())
            text.Append(' ').Append(index == 0 ? $"`{cell}`" : cell.Replace("|", "\\|", StringComparison.Ordinal)).Append(" |");
        text.Append('\n');
    }
}
