using Api.Data;
using Api.Nodes;
using Api.Projects;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Migrations;

/// <summary>What a fresh service needs before anybody can sign in: the default project, an admin key and the first node's token.
/// Guarantees: a secret file that exists is left as it is, and made known again if the database lost it; run twice it changes nothing, but that the node is again
/// whichever machine reports first with its token.
/// The file is written before the row: a crash between the two is mended by the next run.</summary>
public static class Bootstrap
{
    public const string DefaultProject = "default";
    public const int DefaultMaxSandboxes = 20_000;

    public static async Task RunAsync(SandboxDb db, string? adminKeyFile, string? nodeTokenFile, string nodeName, TimeProvider time, CancellationToken ct)
    {
        var project = await db.Projects.SingleOrDefaultAsync(p => p.Name == DefaultProject, ct);
        if (project is null) db.Projects.Add(project = new Project { Id = Guid.CreateVersion7(), Name = DefaultProject, MaxSandboxes = DefaultMaxSandboxes, MaxPriority = SandboxValidation.MaxPriority, Operates = true, CreatedAt = time.GetUtcNow() });
        if (adminKeyFile is not null)
        {
            var secret = ReadOrCreate(adminKeyFile, Secret.ApiKeyPrefix);
            var hash = Secret.Hash(secret);
            if (!await db.ApiKeys.AnyAsync(k => k.SecretSha256 == hash, ct))
                db.ApiKeys.Add(ApiKey.Of(project.Id, "admin", Role.Admin, secret, expiresAt: null, time.GetUtcNow()));
        }
        if (nodeTokenFile is not null)
        {
            var hash = Secret.Hash(ReadOrCreate(nodeTokenFile, Secret.NodeTokenPrefix));
            var node = await db.Nodes.SingleOrDefaultAsync(n => n.Name == nodeName, ct);
            if (node is null)
                db.Nodes.Add(new Node { Id = Guid.CreateVersion7(), Name = nodeName, TokenSha256 = hash, Phase = NodePhase.Joining });
            else
                // Whoever provisions a node is at work on its machine: that one is the node from now on.
                await db.Nodes.Where(n => n.Id == node.Id).ExecuteUpdateAsync(u => u.SetProperty(n => n.TokenSha256, hash).SetProperty(n => n.Installation, (Guid?)null), ct);
        }
        await db.SaveChangesAsync(ct);
    }

    private static string ReadOrCreate(string path, string prefix)
    {
        if (File.Exists(path))
        {
            var kept = File.ReadAllText(path).Trim();
            return Secret.HasForm(kept, prefix) ? kept : throw new InvalidOperationException($"{path} holds no secret of ours; remove it, and another is made");
        }
        var secret = Secret.Create(prefix);
        var whole = path + ".new";
        File.Delete(whole);
        using (var file = new FileStream(whole, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
        {
            file.Write(System.Text.Encoding.ASCII.GetBytes(secret + "\n"));
            file.Flush(flushToDisk: true);
        }
        // Whole or not at all: half a secret would lock everybody out.
        File.Move(whole, path);
        return secret;
    }
}
