using System.Text;
using Contracts;
using Worker.Faults;
using Worker.Hardware.Assignment;
using Worker.Hardware.Verdicts;
using Worker.Sync;
using Worker.Vms;

namespace Worker.Checks;

// Pure: the tables of reason codes as Markdown, for docs/neoverse-node.md; a test keeps the two the same.
// Why a fault count is null stands with the metrics (MetricsDocument).
public static class ReasonsDocument
{
    public static string Markdown()
    {
        var text = new StringBuilder();
        Table(text, "Links of a verdict", ["code", "link", "status", "meaning", "remedy"],
            SvaReasons.All.OrderBy(r => r.Link).Select(r => (string[])[r.Code, Name(r.Link), r.Status.ToString(), r.Message, r.Remedy ?? ""]));
        Table(text, "A verdict as a whole", ["code", "class", "meaning"], VerdictReasons.All.Select(r => (string[])[r.Code, r.Class.ToString(), r.Message]));
        Reasons(text, "A device is not given to a guest, or quarantined", AssignmentReasons.All);
        Reasons(text, "A node and its images", NodeReasons.All);
        Reasons(text, "A machine does not join", JoinReasons.All);
        Reasons(text, "A guest is not started", StartReasons.All);
        Reasons(text, "How a run ended", EndReasons.All.Select(entry => entry.Reason));
        Table(text, "Conditions of a sandbox", ["code", "condition", "status", "meaning"], ConditionReasons.All.Select(r => (string[])[r.Code, r.Type.ToString(), r.Status.ToString(), r.Message]));
        Table(text, "The guest's probe", ["code", "meaning"], ProbeReasons.All.Select(r => (string[])[r.Code, r.Meaning]));
        Table(text, "Lines of logs", ["code", "found in", "meaning", "remedy"],
            KnownFailures.All.Select(k => (string[])[k.Code, k.Source == LogSource.Kernel ? "kernel log" : "VMM's output", k.Reason.Message, k.Reason.Remedy]));
        return text.ToString();
    }

    private static string Name(VerdictLinkName link) => link switch { VerdictLinkName.IommuGroup => "IOMMU group", VerdictLinkName.Smmu => "SMMU", VerdictLinkName.Vmm => "VMM", _ => link.ToString() };

    private static void Reasons(StringBuilder text, string title, IEnumerable<Reason> reasons) =>
        Table(text, title, ["code", "meaning", "remedy"], reasons.Select(r => (string[])[r.Code, r.Message, r.Remedy]));

    private static void Table(StringBuilder text, string title, string[] columns, IEnumerable<string[]> rows)
    {
        text.Append("### ").Append(title).Append("\n| ").AppendJoin(" | ", columns).Append(" |\n|").Insert(text.Length, " --- |", columns.Length).Append('\n');
        foreach (var row in rows)
            Row(text, row);
        text.Append('\n');
    }

    private static void Row(StringBuilder text, string[] cells)
    {
        text.Append('|');
        foreach (var (index, cell) in cells.Index())
            text.Append(' ').Append(index == 0 ? $"`{cell}`" : cell.Replace("|", "\\|", StringComparison.Ordinal)).Append(" |");
        text.Append('\n');
    }
}
